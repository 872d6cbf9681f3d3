"""Inherited weights as a faster proxy: a network begins with the weights of the nearest one that was trained.

    python experiments/calibration/reference/inherited.py --data DIR --out runs/inherited

Half of the networks, every second one, are trained as `tenth` is and keep their weights. Each of the other half is trained
for one epoch twice: from random weights (`scratch`), and from those of the nearest parent (`inherited`): equal names and
mixers, the part that both shapes have. Channels and taps that a parent lacks begin with no effect, and so do the mixers and
MLPs with weights of blocks that it lacks (pooling and random mixing have none: there the block is new). `--folds 2` does it
again with the halves exchanged. A training that ended is kept in results.csv of the folder, and the same command goes on.
ranking.py says how the two rank.
"""

import argparse
import csv
import io
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file
from torch import Tensor

from nas.calibration.plan import architectures_of
from nas.data.draw import make_manifest
from nas.data.manifest import Manifest, load_split, prepare_images
from nas.data.registry import data_root
from nas.files import write_whole
from nas.recipes.recipe import Proxy
from nas.recipes.signals import RANKING_SIGNALS
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture
from nas.training.loop import fit
from nas.training.proxy import fresh_network, train_proxy

YAML = Path(__file__).with_name("metaformer64.yaml")
COLUMNS = ("fold", "kind", "name", "seed", "parent", "share", *RANKING_SIGNALS, "seconds")
LAST_MAPS = ("mlp.fc2", "token_mixer.pwconv2", "token_mixer.proj", "token_mixer.fc")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--folds", type=int, default=1, choices=(1, 2))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    search = read_search(YAML, settings=[f"proxy.data={asked.data}"])
    architectures, _ = architectures_of(search)
    recipe = search.proxy
    manifest, root = make_manifest(recipe, seed=search.split_seed), data_root(recipe.data)
    prepare_images(manifest, image_size=recipe.full_size, root=root)
    results = Results(asked.out / "results.csv")
    work = Trainer(manifest, root, recipe, asked.out, asked.seed)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(asked.workers, mp_context=context, initializer=partial(torch.set_num_threads, 1)) as pool:
        for fold in range(asked.folds):
            parents = {name: a for i, (name, a) in enumerate(architectures.items()) if i % 2 == fold}
            children = {name: a for name, a in architectures.items() if name not in parents}
            for kinds, chosen in ((["parent"], parents), (["scratch", "inherited"], children)):
                jobs = [(kind, name) for name in chosen for kind in kinds if not results.has(fold, kind, name, asked.seed)]
                futures = [pool.submit(work, fold, kind, name, chosen[name], parents) for kind, name in jobs]
                for number, future in enumerate(as_completed(futures), start=1):
                    row = future.result()
                    results.add(row)
                    print(f"[{number}/{len(jobs)}] {row['kind']} {row['name']}: {row['accuracy']:.4f}", flush=True)


class Trainer:
    """One training in a worker."""

    def __init__(self, manifest: Manifest, root: Path | None, recipe: Proxy, folder: Path, seed: int):
        self.manifest, self.root, self.recipe, self.folder, self.seed = manifest, root, recipe, folder, seed

    def __call__(self, fold: int, kind: str, name: str, architecture: Architecture, parents: dict[str, Architecture]) -> dict:
        row = {"fold": fold, "kind": kind, "name": name, "seed": self.seed, "parent": "", "share": ""}
        if kind == "parent":
            outcome = train_proxy(
                architecture, self.recipe, self.manifest, seed=self.seed, root=self.root, weights=self._weights(name)
            )
            curve = outcome.curve
        else:
            short = self.recipe.model_copy(update={"epochs": 1, "warmup_epochs": self.recipe.warmup_epochs / 3})
            model = fresh_network(architecture, short, num_classes=len(self.manifest.class_names), seed=self.seed)
            if kind == "inherited":
                row |= self._inherit(model, architecture, parents)
            images = (load_split(self.manifest, split, image_size=64, root=self.root) for split in ("train", "validation"))
            curve = tuple(fit(model, *images, short, seed=self.seed))
        signals = {signal: round(value.of(curve), 6) for signal, value in RANKING_SIGNALS.items()}
        return row | signals | {"seconds": round(sum(epoch.seconds for epoch in curve), 1)}

    def _inherit(self, model: torch.nn.Module, architecture: Architecture, parents: dict[str, Architecture]) -> dict:
        own, best = model.state_dict(), None
        for parent, theirs in parents.items():
            taken, share = inherited(own, architecture, load_file(self._weights(parent)), theirs)
            if best is None or share > best[0]:
                best = (share, parent, taken)
        model.load_state_dict(best[2])
        return {"parent": best[1], "share": round(best[0], 4)}

    def _weights(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def inherited(
    own: dict[str, Tensor], architecture: Architecture, weights: dict[str, Tensor], parent: Architecture
) -> tuple[dict[str, Tensor], float]:
    """The child's weights with what it takes from the parent, and how near they are: what both have over what either has."""
    taken, number = {}, 0
    for name, fresh in own.items():
        theirs, place = weights.get(name), re.match(r"stages\.(\d)\.blocks\.(\d+)\.", name)
        stage = int(place[1]) if place else None
        same_mixer = stage is None or architecture.stages[stage].mixer == parent.stages[stage].mixer
        if place and int(place[2]) >= parent.stages[stage].depth:
            begins_as_identity = name.rpartition(".")[0].endswith(LAST_MAPS)
            taken[name] = torch.zeros_like(fresh) if begins_as_identity else fresh
        elif theirs is None or theirs.dim() != fresh.dim() or ("token_mixer" in name and not same_mixer):
            taken[name] = fresh
        else:
            taken[name] = heads_grown(fresh, theirs) if name.endswith("qkv.weight") else grown(fresh, theirs)
            number += min(fresh.numel(), torch.Size(map(min, zip(fresh.shape, theirs.shape, strict=True))).numel())
    both = sum(tensor.numel() for tensor in (*own.values(), *weights.values())) - number
    return taken, number / both


def grown(fresh: Tensor, theirs: Tensor) -> Tensor:
    """The parent's values where both have some; 0 where an output of the parent's meets an input that it lacks."""
    grown_ = fresh.clone()
    if fresh.dim() >= 2:
        grown_[: theirs.shape[0], theirs.shape[1] :] = 0
    if fresh.dim() == 4:  # a kernel's middle stays where it is; taps that the parent lacks begin with no effect
        grown_[: theirs.shape[0], : theirs.shape[1]] = 0
    pairs = list(zip(fresh.shape, theirs.shape, strict=True))
    own, given = (tuple(_part(i, pair, of) for i, pair in enumerate(pairs)) for of in (0, 1))
    grown_[own] = theirs[given]
    return grown_


def _part(dim: int, sizes: tuple[int, int], of: int) -> slice:
    """What both have of a dimension: the first channels, the middle of a kernel's sides."""
    start = max(0, sizes[of] - sizes[1 - of]) // 2 if dim >= 2 else 0
    return slice(start, start + min(sizes))


def heads_grown(fresh: Tensor, theirs: Tensor) -> Tensor:
    """Queries, keys and values, which stand one behind the other, each by itself."""
    return torch.cat([grown(*parts) for parts in zip(fresh.chunk(3), theirs.chunk(3), strict=True)])


class Results:
    """The rows of results.csv."""

    def __init__(self, path: Path):
        self.path, self.rows = path, []
        if path.exists():
            with path.open() as file:
                self.rows = list(csv.DictReader(file))

    def has(self, *place) -> bool:
        columns = ("fold", "kind", "name", "seed")
        return any(tuple(str(row[column]) for column in columns) == tuple(map(str, place)) for row in self.rows)

    def add(self, row: dict) -> None:
        self.rows.append(row)
        pd.DataFrame(self.rows, columns=COLUMNS).to_csv(text := io.StringIO(), index=False)
        write_whole(self.path, text.getvalue())


if __name__ == "__main__":
    main()
