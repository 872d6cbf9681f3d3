"""Images a second of a CPU core: our training loop against a minimal one written by hand, with images in memory and in files.

    OMP_NUM_THREADS=1 python experiments/retrain_throughput/bench.py DATA

DATA is a folder with train/<class>/ of images. Both loops train the same network on the same files with the same augmentation,
batch, arithmetic, optimiser and clipping, an epoch each in turn; the clock is the process's CPU time, which other processes on
the machine do not stretch. What was measured stands in README.md beside this file.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from timm.data import Mixup, create_dataset, create_loader
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from torch import nn

from nas.data.draw import make_manifest
from nas.data.manifest import MEAN, STD, Images, load_split
from nas.models.metaformer import build
from nas.recipes.full import FullRecipe, Loader
from nas.retraining.data import FullData, data_of, manifest_of
from nas.space.reference import baseline
from nas.training.augment import augment
from nas.training.batches import InMemory
from nas.training.evaluation import autocast
from nas.training.loop import fit

REPEATS, CPU = 9, torch.device("cpu")
CLASSES, SIZE = 10, 64
SHARED = {
    "classes": CLASSES, "images_per_class": 50, "image_size": SIZE, "epochs": 1, "warmup_epochs": 0, "batch_size": 50,
    "lr": 1e-3, "clip_grad": 1.0, "flip": True, "mixup": 0.8, "cutmix": 1.0, "crop_padding": 4, "random_erasing": 0.25,
}  # fmt: skip
LOADED = Loader(workers=0)


def network(seed: int = 0) -> nn.Module:
    """A small CAFormer (arXiv:2210.13452)."""
    torch.manual_seed(seed)
    stages = ("conv", "conv", "attention", "attention")
    design = baseline((1, 1, 2, 1), (32, 64, 128, 192), mixers=stages, norm="layer", head="mlp")
    return build(design, image_size=SIZE, num_classes=CLASSES)


def by_hand_in_memory(images: Images, recipe: FullRecipe) -> None:
    """Decoded images, our augmentation, and nothing else that a training needs not."""
    model = network().to(memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(model, opt="adamw", lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    generator = torch.Generator().manual_seed(0)
    for chosen in torch.randperm(len(images.labels)).split(recipe.batch_size):
        pixels, labels = (torch.from_numpy(part[chosen.numpy()]) for part in images)
        batch, share = augment(pixels, recipe, image_size=SIZE, generator=generator)
        optimizer.zero_grad()
        with autocast(CPU, recipe):
            logits = model(batch).float()
            criterion = partial(nn.functional.cross_entropy, logits, label_smoothing=recipe.label_smoothing)
            loss = share * criterion(labels) + (1 - share) * criterion(labels.flip(0))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
        optimizer.step()


def by_hand_with_timm(folder: Path, recipe: FullRecipe) -> None:
    """timm's data set, loader, Mixup and loss, as its documentation puts them together."""
    model = network().to(memory_format=torch.channels_last).train()
    optimizer = create_optimizer_v2(model, opt="adamw", lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    loader = timm_loader(folder, recipe)
    mix = mixup(recipe)
    criterion = SoftTargetCrossEntropy()
    for images, labels in loader:
        images, targets = mix(images.contiguous(memory_format=torch.channels_last), labels)
        optimizer.zero_grad()
        with autocast(CPU, recipe):
            loss = criterion(model(images).float(), targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_grad)
        optimizer.step()


def mixup(recipe: FullRecipe) -> Mixup:
    """timm's mixing of a batch and its labels."""
    return Mixup(recipe.mixup, recipe.cutmix, label_smoothing=recipe.label_smoothing, num_classes=CLASSES)


def timm_loader(folder: Path, recipe: FullRecipe):
    """Batches of the files in `folder`, augmented as the recipe says."""
    settings = recipe.loader
    return create_loader(
        create_dataset("", root=str(folder)), (3, SIZE, SIZE), recipe.batch_size, is_training=True,
        num_workers=settings.workers, auto_augment=settings.auto_augment, color_jitter=settings.color_jitter,
        interpolation=settings.interpolation, re_prob=recipe.random_erasing, re_mode=settings.erasing, mean=MEAN,
        std=STD, device=CPU, persistent_workers=False,
    )  # fmt: skip


def linked(root: Path, recipe: FullRecipe, place: Path) -> Path:
    """A folder of links to the images that the recipe draws, for timm to read."""
    manifest = manifest_of(recipe, seed=0)
    for name, label in manifest.train:
        link = place / manifest.class_names[label] / Path(name).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((root / name).resolve())
    return place


def ours(data: FullData | InMemory, recipe: FullRecipe) -> None:
    """An epoch of `fit`."""
    fit(network(), data.train if isinstance(data, FullData) else data, None, recipe, seed=0)


def compared(name: str, first: Callable[[], None], second: Callable[[], None], number: int) -> None:
    """Prints both rates and the ratio of the second's median time to the first's, each measured in turn after a warm-up."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 1):
        for work, taken in zip((first, second), seconds, strict=True):
            began = time.process_time()
            work()
            if repeat:
                taken.append(time.process_time() - began)
    ratios = sorted(b / a for a, b in zip(*seconds, strict=True))
    rates = [number / statistics.median(taken) for taken in seconds]
    ratio = statistics.median(seconds[1]) / statistics.median(seconds[0])
    print(
        f"{name}: ours {rates[0]:.0f} images/s, by hand {rates[1]:.0f}: {ratio:.3f} of it "
        f"({REPEATS} pairs, single ratios {ratios[0]:.3f} to {ratios[-1]:.3f})",
        flush=True,
    )


def main(root: Path) -> None:
    """All three comparisons."""
    torch.set_num_threads(1)
    decoded = FullRecipe(data=str(root.resolve()), **SHARED)
    loaded = decoded.model_copy(update={"loader": LOADED})
    images = load_split(make_manifest(decoded, seed=0), "train", image_size=SIZE)
    mine, by_hand = partial(ours, InMemory(images, decoded), decoded), partial(by_hand_in_memory, images, decoded)
    compared("images in memory", mine, by_hand, len(images.labels))
    with tempfile.TemporaryDirectory() as place:
        folder = linked(root, loaded, Path(place) / "train")
        data = data_of(manifest_of(loaded, seed=0), loaded, unreadable=Path(place) / "unreadable.tsv")
        compared(
            "read file by file", partial(ours, data, loaded), partial(by_hand_with_timm, folder, loaded), data.train.num_images
        )
        compared("loading alone", partial(drained, data), partial(drained_by_timm, folder, loaded), data.train.num_images)


def drained(data: FullData) -> None:
    """An epoch of our batches, mixed, not trained on."""
    for _ in data.train.epoch(1, seed=0, device=CPU):
        pass


def drained_by_timm(folder: Path, recipe: FullRecipe) -> None:
    """The files decoded, augmented and mixed by timm alone."""
    mix = mixup(recipe)
    for images, labels in timm_loader(folder, recipe):
        mix(images.contiguous(memory_format=torch.channels_last), labels)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
