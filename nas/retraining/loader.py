"""Images read batch by batch by timm's loader and augmented by timm, each process its part."""

import random
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import create_loader
from torch import Tensor
from torch.utils.data import Dataset

from nas.data.class_folders import read_file
from nas.data.decoding import AS_STORED, Rendering, as_rgb
from nas.data.manifest import MEAN, STD, Item
from nas.data.source import Source
from nas.errors import ConfigError, NasError, in_one_line
from nas.recipes.by_size import settled
from nas.recipes.full import FullRecipe, Loader
from nas.training import processes
from nas.training.augment import mixed
from nas.training.batches import EVALUATION_BATCH, UpdateShare, mixed_seed, own_seed
from nas.training.loss import Batch

JUDGED_BY = "bicubic"  # how images that are judged are scaled
TRIES = 10  # images in a row that can't be read before a training gives up


class Unreadable:
    """Images that could not be read, a line each in a file to which every decoding process appends."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def note(self, name: str, error: Exception) -> None:
        """Adds an image and why it could not be read."""
        why = in_one_line(error)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{name}\t{why}\n")

    def refuse_above(self, share: float, *, of: int) -> None:
        """ConfigError when more than `share` of so many images were found unreadable."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        reasons = dict(line.split("\t", 1) for line in lines if "\t" in line)
        if len(reasons) > share * of:
            names = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:3])
            raise ConfigError(
                f"at most {share:.1%} of the images may be unreadable (unreadable_share), but {len(reasons)} of {of} are, "
                f"listed in {self.path}: {names}. Mend or remove them, or raise unreadable_share."
            )


class Listed(Dataset):
    """Listed images, decoded when they are asked for; one that can't be has the label -1. timm's loader sets `transform`."""

    def __init__(self, source: Source, items: tuple[Item, ...], *, broken: Unreadable, rendering: Rendering):
        self.source, self.items, self.broken, self.rendering = source, items, broken, rendering
        self.transform: Callable[[Image.Image], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        name, label = self.items[number]
        assert self.transform is not None, "only timm's loader reads these"
        try:
            image, _ = self.source.read(self.source.place(name))
            return self.transform(as_rgb(image, self.rendering)), label
        except Exception as error:  # a broken file can make a decoder raise anything; it is noted and counted
            self.broken.note(name, error)
            return self.transform(Image.new("RGB", (1, 1))), -1

    def of(self, numbers: list[int]) -> "Listed":
        """Only these, in this order."""
        chosen = tuple(self.items[i] for i in numbers)
        return type(self)(self.source, chosen, broken=self.broken, rendering=self.rendering)


class Readable(Listed):
    """Listed images with the next one in the place of one that can't be read, so that every batch is full."""

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        for i in range(number, number + TRIES):
            image, label = super().__getitem__(i % len(self))
            if label >= 0:
                return image, label
        raise NasError(f"{TRIES} images in a row can't be read; they are listed in {self.broken.path}. Is the disk there?")


class Loaded:
    """Training batches by timm's loader; the images that are left when an epoch is cut into whole batches change each time."""

    def __init__(self, images: Listed, recipe: FullRecipe):
        parts_of(recipe)  # or its error
        self.images = Readable(images.source, images.items, broken=images.broken, rendering=images.rendering)
        self.recipe = recipe
        self.loader = loader_of(recipe)
        self.steps = len(images) // recipe.batch_size
        self.num_images = self.steps * recipe.batch_size
        if not self.steps:
            raise ConfigError(
                f"batch_size: must be at most the {len(images)} training images, but got {recipe.batch_size}. Lower it."
            )

    def epoch(self, number: int, *, seed: int, device: torch.device) -> Iterator[UpdateShare]:
        """Each image at most once, over all processes."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(mixed_seed(seed, number)))
        shares = order[: self.num_images].view(self.steps, processes.world(), -1)  # (steps, processes, images)
        own = self.images.of(shares[:, processes.rank()].flatten().tolist())
        yield from shares_of(own, self.recipe, self.loader, number=number, seed=seed, device=device, steps=self.steps)
        self.images.broken.refuse_above(self.recipe.unreadable_share, of=len(self.images))


class LoadedJudged:
    """Images read by timm's loader, of which each process judges an equal part; those that can't be read are left out."""

    def __init__(self, images: Listed, recipe: FullRecipe):
        self.images, self.recipe, self.num_images = images, recipe, len(images)
        self.loader = loader_of(recipe)

    def chunks(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """In the order of the list."""
        own = self.images.of(list(range(processes.rank(), len(self.images), processes.world())))
        for images, labels in judging_loader(own, self.recipe, self.loader, device):
            read = labels >= 0
            yield (images, labels) if read.all() else (images[read], labels[read])
        self.images.broken.refuse_above(self.recipe.unreadable_share, of=len(self.images))


def loader_of(recipe: FullRecipe) -> Loader:
    """How timm's loader reads for a recipe that has one."""
    assert recipe.loader is not None, "without a loader the images lie in memory"
    return recipe.loader


def parts_of(recipe: FullRecipe) -> int:
    """Into how many equal parts a process cuts its share of a batch; ConfigError where the processes' shares aren't equal."""
    share, rest = divmod(recipe.batch_size, processes.world())
    if rest:
        raise ConfigError(
            f"batch_size: must be a multiple of the {processes.world()} processes, so that each has an equal share, but got "
            f"{recipe.batch_size}. Take {share * processes.world() or processes.world()}, or another number of processes."
        )
    most = min(share, recipe.device_batch or share)
    return next(parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= most)


def shares_of(
    images: Dataset, recipe: FullRecipe, loader: Loader, *, number: int, seed: int, device: torch.device, steps: int
) -> Iterator[UpdateShare]:
    """This process's shares of an epoch, mixed part by part."""
    drawn, parts = own_seed(mixed_seed(seed, number)), parts_of(recipe)
    random.seed(drawn)  # timm's augmentation draws from these two as well
    np.random.seed(drawn % 2**32)
    generator = torch.Generator(device).manual_seed(drawn)
    size = recipe.batch_size // processes.world() // parts
    batches = iter(_training_loader(images, recipe, loader, size=recipe.size_at(number), batch_size=size, device=device))
    for _ in range(steps):
        mixed_batches = [
            Batch(*mixed(_laid_out(part, recipe), recipe, generator=generator), labels, partners=labels.flip(0))
            for part, labels in islice(batches, parts)
        ]
        yield UpdateShare(mixed_batches, recipe.batch_size)


def _training_loader(
    images: Dataset, recipe: FullRecipe, loader: Loader, *, size: int, batch_size: int, device: torch.device
) -> Iterable[tuple[Tensor, Tensor]]:
    """timm's loader; its processes end with the epoch, so that an epoch's draws never depend on the one before."""
    return create_loader(
        images,
        input_size=(3, size, size),
        batch_size=batch_size,
        is_training=True,
        scale=recipe.crop_scale,
        hflip=0.5 if recipe.flip else 0.0,
        auto_augment=loader.auto_augment,
        color_jitter=loader.color_jitter,
        interpolation=loader.interpolation,
        re_prob=recipe.random_erasing,
        re_mode=loader.erasing,
        **_shared(loader, device),
    )


def judging_loader(
    images: Dataset, recipe: FullRecipe, loader: Loader, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images as they are, scaled and cut from the middle, and their labels."""
    shape, batch_size = (3, recipe.full_size, recipe.full_size), min(EVALUATION_BATCH, recipe.device_batch or EVALUATION_BATCH)
    batches = create_loader(
        images, shape, batch_size, interpolation=JUDGED_BY, crop_pct=settled(loader.test_crop), **_shared(loader, device)
    )
    return ((_laid_out(part, recipe), labels) for part, labels in batches)


def seen_by_loader(recipe: FullRecipe, files: Sequence[Path], size: int) -> Tensor:
    """Image files as a training with timm's loader is judged by them: `(N, 3, size, size)`."""
    loader = loader_of(recipe).model_copy(update={"workers": 0})
    items = tuple((str(file.absolute()), 0) for file in files)
    with tempfile.TemporaryDirectory() as scratch:
        images = Listed(
            Source({}, None, partial(read_file, Path("/"))), items, broken=Unreadable(Path(scratch) / "x"), rendering=AS_STORED
        )
        batches = judging_loader(images, recipe.model_copy(update={"image_size": size}), loader, torch.device("cpu"))
        return torch.cat([pixels.cpu() for pixels, _ in batches])


def _shared(loader: Loader, device: torch.device) -> dict[str, Any]:
    return {
        "mean": MEAN,
        "std": STD,
        "num_workers": loader.workers,
        "pin_memory": device.type == "cuda",
        "device": device,
        "persistent_workers": False,
    }


def _laid_out(images: Tensor, recipe: FullRecipe) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last if recipe.channels_last else torch.contiguous_format)
