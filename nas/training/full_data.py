"""A full training's images: decoded in memory as in a search, or read batch by batch by timm's loader and augmented by timm.

Which images are trained on, held out and tested is a manifest here as well. A stream (wds/) has no numbers: of it the manifest
lists none, nothing can be held out, and each process reads its own part.
"""

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data import create_dataset, create_loader
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from nas.errors import ConfigError, NasError
from nas.training import processes
from nas.training.augment import mixed
from nas.training.batches import EVALUATION_BATCH, Batches, InMemory, InMemoryJudged, Judged, Share, mixed_seed, own_seed
from nas.training.data import LISTED, MEAN, STD, Item, Manifest, list_manifest, load, make_manifest
from nas.training.decoding import OnDecoded, as_rgb, silent
from nas.training.full_recipe import FullRecipe
from nas.training.loss import Batch
from nas.training.sources import Source, data_home, open_source

STREAM = "wds/"
TRIES = 10  # images in a row that can't be read before a training gives up


class FullData(NamedTuple):
    """What a training reads."""

    train: Batches
    validation: Judged | None
    """Training images that are held out; None where none are."""
    test: Judged


def manifest_of(recipe: FullRecipe, *, seed: int, root: Path | None = None, on_decoded: OnDecoded = silent) -> Manifest:
    """The images of a recipe: each looked at where they will lie in memory, by their names alone where a loader reads them."""
    if recipe.data.startswith(STREAM):
        return _stream_manifest(recipe, seed)
    make = make_manifest if recipe.loader is None else list_manifest
    return make(recipe, seed=seed, root=root, on_decoded=on_decoded)


def data_of(manifest: Manifest, recipe: FullRecipe, *, unreadable: Path, root: Path | None = None) -> FullData:
    """The images of a manifest; those that a loader finds unreadable are noted in the file `unreadable`."""
    if recipe.data.startswith(STREAM):
        return FullData(Streamed(recipe, manifest, root), None, StreamedJudged(recipe, manifest, root))
    if recipe.loader is None:
        train, validation, test = (
            load(manifest, split, image_size=recipe.full_size, root=root) for split in ("train", "validation", "test")
        )
        held_out = InMemoryJudged(validation, recipe) if len(validation.labels) else None
        return FullData(InMemory(train, recipe), held_out, InMemoryJudged(test, recipe))
    source, broken = open_source(manifest.data, root=root), Unreadable(unreadable)
    train, validation, test = (Listed(source, items, broken) for items in (manifest.train, manifest.validation, manifest.test))
    held_out = LoadedJudged(validation, recipe) if manifest.validation else None
    return FullData(Loaded(train, recipe), held_out, LoadedJudged(test, recipe))


class Unreadable:
    """Images that could not be read, a line each in a file to which every decoding process appends."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def note(self, name: str, error: Exception) -> None:
        """Adds an image and why it could not be read."""
        why = " ".join(str(error).split()) or type(error).__name__
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{name}\t{why}\n")

    def refuse_above(self, share: float, *, of: int) -> None:
        """ConfigError when more than `share` of so many images were found unreadable."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        found = dict(line.split("\t", 1) for line in lines if "\t" in line)
        if len(found) > share * of:
            names = "; ".join(f"{name}: {why}" for name, why in list(found.items())[:3])
            raise ConfigError(
                f"at most {share:.1%} of the images may be unreadable (unreadable_share), but {len(found)} of {of} are, listed "
                f"in {self.path}: {names}. Mend or remove them, or raise unreadable_share."
            )


class Listed(Dataset):
    """Listed images, decoded when they are asked for; one that can't be has the label -1. timm's loader sets `transform`."""

    transform = None

    def __init__(self, source: Source, items: tuple[Item, ...], broken: Unreadable):
        self.source, self.items, self.broken = source, items, broken

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        name, label = self.items[number]
        try:
            image, _ = self.source.read(self.source.place(name))
            return self.transform(as_rgb(image)), label
        except Exception as error:  # a broken file can make a decoder raise anything; it is noted and counted
            self.broken.note(name, error)
            return self.transform(Image.new("RGB", (1, 1))), -1

    def of(self, numbers: list[int]) -> "Listed":
        """Only these, in this order."""
        return type(self)(self.source, tuple(self.items[i] for i in numbers), self.broken)


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
        self.images, self.recipe = Readable(images.source, images.items, images.broken), recipe
        self.steps = len(images) // recipe.batch_size
        self.num_images = self.steps * recipe.batch_size
        if not self.steps:
            raise ConfigError(
                f"batch_size: must be at most the {len(images)} training images, but got {recipe.batch_size}. Lower it."
            )

    def epoch(self, number: int, *, seed: int, device: torch.device) -> Iterator[Share]:
        """Each image at most once, over all processes."""
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(mixed_seed(seed, number)))
        shares = order[: self.num_images].view(self.steps, processes.world(), -1)  # (steps, processes, images)
        own = self.images.of(shares[:, processes.rank()].flatten().tolist())
        yield from _shares(own, self.recipe, number=number, seed=seed, device=device, steps=self.steps)
        self.images.broken.refuse_above(self.recipe.unreadable_share, of=len(self.images))


class LoadedJudged:
    """Images read by timm's loader, of which each process judges an equal part; those that can't be read are left out."""

    def __init__(self, images: Listed, recipe: FullRecipe):
        self.images, self.recipe, self.num_images = images, recipe, len(images)

    def chunks(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """In the order of the list."""
        own = self.images.of(list(range(processes.rank(), len(self.images), processes.world())))
        for images, labels in _judging_loader(own, self.recipe, device):
            read = labels >= 0
            yield (images, labels) if read.all() else (images[read], labels[read])
        self.images.broken.refuse_above(self.recipe.unreadable_share, of=len(self.images))


class Streamed:
    """Training batches of a stream; each process reads its own shards, in an order and augmentation that the epoch draws."""

    def __init__(self, recipe: FullRecipe, manifest: Manifest, root: Path | None):
        self.recipe, self.root, self.num_classes = recipe, root, len(manifest.class_names)
        reader = _stream(recipe, root, "train", seed=0).reader
        self.steps, shards = reader.num_samples // recipe.batch_size, len(reader.split_info.filenames)
        self.num_images = self.steps * recipe.batch_size
        if not self.steps:
            raise ConfigError(
                f"batch_size: must be at most the {reader.num_samples} images of {recipe.data}, but got {recipe.batch_size}. "
                "Lower it."
            )
        if shards < processes.world() * max(1, recipe.loader.workers):
            raise ConfigError(
                f"loader.workers: each of them, in each of the {processes.world()} processes, needs a shard of its own, but "
                f"{recipe.data} has {shards} for {recipe.loader.workers}. Lower it, or cut the data into more shards."
            )

    def epoch(self, number: int, *, seed: int, device: torch.device) -> Iterator[Share]:
        """As many batches as the stream says it has images for."""
        images = _stream(self.recipe, self.root, "train", seed=mixed_seed(seed, number))
        for share in _shares(images, self.recipe, number=number, seed=seed, device=device, steps=self.steps):
            for batch in share.batches if number == 1 else ():  # each look waits for a GPU, and one epoch has them all
                _check_labels(batch.labels, self.num_classes, self.recipe)
            yield share


class StreamedJudged:
    """Images of a stream, all judged by the first process: a stream can't be cut into equal parts."""

    def __init__(self, recipe: FullRecipe, manifest: Manifest, root: Path | None):
        self.recipe, self.root, self.num_classes = recipe, root, len(manifest.class_names)
        self.num_images = _stream(recipe, root, "validation", seed=0).reader.num_samples

    def chunks(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """In the order of the shards."""
        if processes.rank():
            return
        images = _stream(self.recipe, self.root, "validation", seed=0)
        images.reader.dist_num_replicas = 1
        for chunk, labels in _judging_loader(images, self.recipe, device):
            _check_labels(labels, self.num_classes, self.recipe)
            yield chunk, labels


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


def _shares(
    images: Dataset, recipe: FullRecipe, *, number: int, seed: int, device: torch.device, steps: int
) -> Iterator[Share]:
    """This process's shares of an epoch, mixed part by part."""
    drawn, parts = own_seed(mixed_seed(seed, number)), parts_of(recipe)
    random.seed(drawn)  # timm's augmentation draws from these two as well
    np.random.seed(drawn % 2**32)
    generator = torch.Generator(device).manual_seed(drawn)
    size = recipe.batch_size // processes.world() // parts
    batches = iter(_training_loader(images, recipe, size=recipe.size_at(number), batch_size=size, device=device))
    for _ in range(steps):
        found = [
            Batch(*mixed(_laid_out(part, recipe), recipe, generator=generator), labels, partners=labels.flip(0))
            for part, labels in islice(batches, parts)
        ]
        yield Share(found, recipe.batch_size)


def _training_loader(images: Dataset, recipe: FullRecipe, *, size: int, batch_size: int, device: torch.device):
    """timm's loader; its processes end with the epoch, so that an epoch's draws never hang on the one before."""
    settings = recipe.loader
    return create_loader(
        images,
        input_size=(3, size, size),
        batch_size=batch_size,
        is_training=True,
        scale=recipe.crop_scale,
        hflip=0.5 if recipe.flip else 0.0,
        auto_augment=settings.auto_augment,
        color_jitter=settings.color_jitter,
        interpolation=settings.interpolation,
        re_prob=recipe.random_erasing,
        re_mode=settings.erasing,
        **_shared(recipe, device),
    )


def _judging_loader(images: Dataset, recipe: FullRecipe, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    size, batch_size = recipe.full_size, min(EVALUATION_BATCH, recipe.device_batch or EVALUATION_BATCH)
    crop = recipe.loader.test_crop
    shape = (3, size, size)
    options = _shared(recipe, device)
    loader = create_loader(images, shape, batch_size, interpolation="bicubic", crop_pct=crop, **options)
    return ((_laid_out(part, recipe), labels) for part, labels in loader)


def _shared(recipe: FullRecipe, device: torch.device) -> dict:
    return {
        "mean": MEAN,
        "std": STD,
        "num_workers": recipe.loader.workers,
        "pin_memory": device.type == "cuda",
        "device": device,
        "persistent_workers": False,
    }


def _laid_out(images: Tensor, recipe: FullRecipe) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last if recipe.channels_last else torch.contiguous_format)


def _stream_manifest(recipe: FullRecipe, seed: int) -> Manifest:
    """What can be said of a stream: its classes, which it doesn't name itself."""
    rules = {
        "loader": (recipe.loader is not None, "must be set, {} will do"),
        "validation_share": (recipe.validation_share == 0, "must be 0, because a stream has no numbers to hold out by"),
        "images_per_class": (recipe.images_per_class is None, "must be left out, because a stream is read as a whole"),
        "classes": (recipe.classes is not None, "must be their number or their names in order, which a stream doesn't tell"),
    }
    for name, (kept, rule) in rules.items():
        if not kept:
            raise ConfigError(f"{name}: {rule} ({recipe.data}), but got {getattr(recipe, name)}. Change it.")
    names = recipe.classes if isinstance(recipe.classes, tuple) else tuple(map(str, range(recipe.classes)))
    return Manifest(data=recipe.data, class_names=names, train=(), validation=(), test=(), content=LISTED, seed=seed)


def _stream(recipe: FullRecipe, root: Path | None, split: str, *, seed: int) -> IterableDataset:
    home, is_training = data_home(root), split == "train"
    size = recipe.batch_size // processes.world() // parts_of(recipe)
    try:
        return create_dataset(
            recipe.data,
            root=str(home),
            split=split,
            is_training=is_training,
            batch_size=size,
            seed=seed % 2**32,
            download=False,
        )
    except Exception as error:  # timm and webdataset have no exception of their own for data that is missing
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"data={recipe.data} must lie under {home} already, with an _info.json that lists its {split} shards, but: {why}. "
            "Put it there, or set NAS_DATA to its folder."
        ) from None


def _check_labels(labels: Tensor, num_classes: int, recipe: FullRecipe) -> None:
    most = int(labels.max())
    if most >= num_classes:
        raise ConfigError(f"classes: must be all of {recipe.data}, but it has label {most} and classes says {num_classes}.")
