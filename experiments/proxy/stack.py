"""Trials an hour against the plain stack: timm's model in float32 NCHW, ImageFolder and a DataLoader with two workers.

    python experiments/proxy/stack.py DATA_FOLDER/tiny-imagenet-50

Both train the same PoolFormer-like network of 21.5 M MACs at 64 px on the same images for the same epochs. The plain stack has
one trial at a time with two threads, ours two at a time with one thread each; they take turns. Results: README.md beside this.
"""

import argparse
import math
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch
from timm.layers import GroupNorm1
from timm.models.metaformer import MetaFormer
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from nas.data.draw import make_manifest
from nas.data.manifest import MEAN, STD, Manifest, load_split
from nas.recipes.recipe import Recipe
from nas.space.architecture import Architecture, Stage
from nas.space.cost import cost
from nas.training import loop
from nas.training.batches import InMemory, num_steps
from nas.training.loop import fit
from nas.training.optimizer import lr_share
from nas.training.proxy import fresh_network, train_proxy

DEPTHS, WIDTHS = (1, 1, 3, 1), (32, 64, 160, 256)
WORKERS = 2
SHARES = (0.1, 0.2)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", help="a folder of train/<class>/ and val/<class>/ with images of 64 px")
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--epochs", type=int, default=4)
    arguments.add_argument("--precision", choices=("auto", "float32"), default="auto", help="of ours")
    given = arguments.parse_args()
    recipe = Recipe(
        data=given.data,
        classes=20,
        images_per_class=400,
        validation_share=0.1,  # as in search_spaces/imagenet.yaml
        image_size=64,
        epochs=given.epochs,
        crop_padding=8,
        flip=True,
        precision=given.precision,
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAS_CACHE"] = folder
        manifest = make_manifest(recipe, seed=0)
        macs = cost(architecture(), image_size=64, num_classes=20).macs
        print(f"{macs:,} MACs, {len(manifest.train):,} images, {given.epochs} epochs")
        compare(recipe, manifest, rounds=given.rounds)
        shares(recipe)


def architecture() -> Architecture:
    """PoolFormer's design at a proxy's depth and width."""
    like = {"mixer": "pool", "norm": "group", "norm_bias": True, "mlp_bias": True, "activation": "gelu", "layer_scale": 1e-2}
    stages = [Stage(depth=depth, width=width, **like) for depth, width in zip(DEPTHS, WIDTHS, strict=True)]
    return Architecture(stages=stages, stem_norm=False, downsample_norm=False)


def compare(recipe: Recipe, manifest: Manifest, *, rounds: int) -> None:
    """Print trials an hour and accuracies of both stacks, which take turns."""
    plain_seconds, plain_accuracies, our_seconds, our_accuracies = 0.0, [], 0.0, []
    with ProcessPoolExecutor(
        WORKERS, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        list(pool.map(time.sleep, WORKERS * [3]))  # both have started and imported
        for number in range(rounds):
            began = time.perf_counter()
            plain_accuracies.append(plain(recipe, manifest, seed=number))
            plain_seconds += time.perf_counter() - began
            began = time.perf_counter()
            our_accuracies += pool.map(ours, *zip(*[(recipe, manifest, 2 * number + i) for i in range(WORKERS)], strict=True))
            our_seconds += time.perf_counter() - began
    rates = []
    for name, seconds, found in (("plain", plain_seconds, plain_accuracies), ("ours", our_seconds, our_accuracies)):
        rates.append(3600 * len(found) / seconds)
        spread = statistics.stdev(found) if len(found) > 1 else math.nan
        print(
            f"{name:6} {rates[-1]:6.1f} trials/hour  accuracy {statistics.mean(found):.1%} ± {spread:.1%} ({len(found)} seeds)"
        )
    print(f"ratio  {rates[1] / rates[0]:.2f}")


def ours(recipe: Recipe, manifest: Manifest, seed: int) -> float:
    """Accuracy of one trial of this project."""
    return train_proxy(architecture(), recipe, manifest, seed=seed).accuracy


class Folder(Dataset):
    """A manifest's split as files."""

    def __init__(self, manifest: Manifest, split: str, transform: transforms.Compose):
        self.root, self.items, self.transform = Path(manifest.data), getattr(manifest, split), transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int):
        name, label = self.items[number]
        return self.transform(default_loader(self.root / name)), label


def plain(recipe: Recipe, manifest: Manifest, *, seed: int) -> float:
    """Accuracy of one trial as one would write it down: the same recipe, nothing tuned."""
    torch.manual_seed(seed)
    torch.set_num_threads(WORKERS)
    end = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    start = [transforms.RandomCrop(recipe.full_size, padding=recipe.crop_padding), transforms.RandomHorizontalFlip()]
    train = DataLoader(
        Folder(manifest, "train", transforms.Compose([*start, *end])), recipe.batch_size, shuffle=True, num_workers=WORKERS
    )
    judge = DataLoader(Folder(manifest, "validation", transforms.Compose(end)), 256, num_workers=WORKERS)
    model = MetaFormer(
        num_classes=len(manifest.class_names), depths=DEPTHS, dims=WIDTHS, mlp_act=nn.GELU, mlp_bias=True,
        downsample_norm=None, norm_layers=GroupNorm1, layer_scale_init_values=1e-2, res_scale_init_values=None,
        use_mlp_head=False,
    )  # fmt: skip
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": others, "weight_decay": 0}], weight_decay=recipe.weight_decay
    )
    steps, position = num_steps(len(manifest.train), recipe), 0
    for _ in range(recipe.epochs):
        model.train()
        for images, labels in train:
            position += 1
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr * lr_share(position, steps, recipe)
            loss = nn.functional.cross_entropy(model(images), labels, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
            optimizer.step()
        model.eval()
        with torch.inference_mode():
            right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in judge)
    return right / len(manifest.validation)


def shares(recipe: Recipe) -> None:
    """Print how much of a trial's CPU time batches and evaluations take, by the share of the images to judge by."""
    torch.set_num_threads(1)
    for share in SHARES:
        judging = recipe.model_copy(update={"validation_share": share, "epochs": 2})
        whole, spent = timed_trial(judging, make_manifest(judging, seed=0))
        parts = ", ".join(f"{name} {seconds / whole:.1%}" for name, seconds in [*spent.items(), ("both", sum(spent.values()))])
        print(f"{share:.0%} of the images to judge by, of a trial's {whole:.1f} CPU-seconds on one thread: {parts}")


def timed_trial(recipe: Recipe, manifest: Manifest) -> tuple[float, dict[str, float]]:
    """CPU-seconds of a trial, and those of two parts of it."""
    spent, evaluate = {"batches": 0.0, "evaluation": 0.0}, loop.evaluate

    @contextmanager
    def counted(part: str) -> Iterator[None]:
        began = time.process_time()
        yield
        spent[part] += time.process_time() - began

    class Timed(InMemory):
        def epoch(self, *given, **options):
            batches = super().epoch(*given, **options)
            for _ in range(self.steps):
                with counted("batches"):
                    batch = next(batches)
                yield batch

    def timed_evaluate(*given, **options):
        with counted("evaluation"):
            return evaluate(*given, **options)

    began, loop.evaluate = time.process_time(), timed_evaluate
    train, validation = (load_split(manifest, split, image_size=recipe.full_size) for split in ("train", "validation"))
    model = fresh_network(architecture(), recipe, num_classes=len(manifest.class_names), seed=0)
    fit(model, Timed(train, recipe), validation, recipe, seed=0)
    loop.evaluate = evaluate
    return time.process_time() - began, spent


if __name__ == "__main__":
    main()
