"""Exports many networks and counts how many a process without this package computes bit for bit.

python experiments/export/prove.py --number 300 --out experiments/export/proofs.csv
"""

import argparse
import csv
import random
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from nas.export.directory import Description, Prepared, drafted, write_export
from nas.export.proof import Proof, prove
from nas.models.metaformer import build
from nas.run.settings.search import Search, read_search
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture, repair
from nas.space.reference import designs

SPACE = Path(__file__).parents[2] / "search_spaces" / "hybrid.yaml"
CLASSES, BATCH = 10, 12  # networks that one fresh process loads
ABOUT = Description(class_names=None, mean=(0.5,) * 3, std=(0.25,) * 3, provenance={"run": "random weights"})


class Row(NamedTuple):
    """One network and what became of its export."""

    source: str
    name: str
    level: str
    loaded: bool
    difference: float | None
    """Of the logits in the fresh process to those expected, 0.0 only where all bits are equal."""
    rounding: float
    """Of those expected to the found network's own: merged norms, and timm's operators where ours are faster."""
    cause: str


def drawn(search: Search, *, seed: int) -> Iterator[tuple[str, str, Architecture]]:
    """Different affordable architectures of a space, without end."""
    rng, seen = random.Random(seed), set()
    while True:
        found = repair(random_architecture(search.space, rng), search.space, search.constraints, rng=rng)
        if found is not None and found.key not in seen:
            seen.add(found.key)
            yield "hybrid.yaml", found.describe(), found


def network(architecture: Architecture, *, image_size: int, seed: int) -> nn.Module:
    """A network in which every weight counts: fresh layer scales would hide what their branches compute."""
    torch.manual_seed(seed)
    net = build(architecture, image_size=image_size, num_classes=CLASSES)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.2 * torch.randn_like(parameter) + 0.3)
        for name, buffer in net.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.1, 2)
    return net.eval()


def proven(batch: list[tuple[str, str, Architecture]], *, image_size: int) -> Iterator[Row]:
    """Each architecture of a batch exported to a scratch folder, then all loaded by one fresh process."""
    with tempfile.TemporaryDirectory() as scratch:
        exports: dict[Path, Prepared] = {}
        for i, (_, _, architecture) in enumerate(batch):
            state = network(architecture, image_size=image_size, seed=i).state_dict()
            prepared = drafted(architecture, state, ABOUT, image_size=image_size, num_classes=CLASSES)
            directory = Path(scratch) / str(i)
            directory.mkdir()
            write_export(prepared, directory)
            exports[directory] = prepared._replace(model=None)  # it is on disk now
        proofs = prove({directory: prepared.logits for directory, prepared in exports.items()})
        for (source, name, _), prepared, proof in zip(batch, exports.values(), proofs, strict=True):
            yield row(source, name, prepared, proof)


def row(source: str, name: str, prepared: Prepared, proof: Proof) -> Row:
    cause = "" if proof.error is None else proof.error.strip().splitlines()[-1]
    return Row(source, name, prepared.level.letter, proof.error is None, proof.difference, prepared.rounding, cause)


def show(rows: list[Row]) -> None:
    print(f"{'':12} {'level':>6} {'networks':>9} {'loaded':>7} {'difference 0.0':>15} {'rounding to':>12}")
    groups = sorted({(r.source, r.level) for r in rows})
    for source, level in [*groups, ("all", "")]:
        some = [r for r in rows if (r.source, r.level) == (source, level) or source == "all"]
        loaded, equal = sum(r.loaded for r in some), sum(r.difference == 0.0 for r in some)
        print(f"{source:12} {level:>6} {len(some):9} {loaded:7} {equal:15} {max(r.rounding for r in some):12.1e}")
    for r in rows:
        if r.difference != 0.0:
            print(f"  {r.source} {r.name}: {r.cause or r.difference}")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--number", type=int, default=300, help="random architectures of hybrid.yaml")
    options.add_argument("--image-size", type=int, default=64)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--out", type=Path, help="a CSV with one row a network")
    given = options.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    networks = list(islice(drawn(read_search(SPACE), seed=given.seed), given.number))
    networks += [("reference", name, architecture) for name, architecture in designs().items()]
    rows: list[Row] = []
    for first in range(0, len(networks), BATCH):
        rows += proven(networks[first : first + BATCH], image_size=given.image_size)
        print(f"{len(rows)} of {len(networks)}, {time.perf_counter() - started:.0f} s", flush=True)
    show(rows)
    if given.out:
        with given.out.open("w", newline="") as file:
            csv.writer(file).writerows([Row._fields, *rows])


if __name__ == "__main__":
    main()
