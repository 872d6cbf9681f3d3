"""Data sets that come as a stream (wds/): no image has a number, so none is listed or held out, and shards are dealt out."""

from collections.abc import Iterator
from pathlib import Path

import torch
from timm.data import IterableImageDataset, create_dataset
from torch import Tensor

from nas.data.draw import rendering_of
from nas.data.manifest import LISTED, Manifest
from nas.data.registry import data_home
from nas.data.source import forget_commands
from nas.errors import ConfigError, in_one_line
from nas.recipes.full import FullRecipe
from nas.retraining.loader import judging_loader, loader_of, parts_of, shares_of, views_of
from nas.training import processes
from nas.training.batches import UpdateShare, mixed_seed

STREAM = "wds/"


def stream_manifest(recipe: FullRecipe, seed: int) -> Manifest:
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
    assert recipe.classes is not None, "one of the rules"
    names = recipe.classes if isinstance(recipe.classes, tuple) else tuple(map(str, range(recipe.classes)))
    return Manifest(data=recipe.data, class_names=names, train=(), validation=(), test=(), content=LISTED, seed=seed)


class Streamed:
    """Training batches of a stream; each process reads its own shards, in an order and augmentation that the epoch draws."""

    def __init__(self, recipe: FullRecipe, manifest: Manifest, root: Path | None):
        self.recipe, self.root, self.num_classes = recipe, root, len(manifest.class_names)
        self.loader = loader_of(recipe)
        reader = _stream(recipe, root, "train", seed=0).reader
        self.steps, shards = reader.num_samples // recipe.batch_size, len(reader.split_info.filenames)
        self.num_images = self.steps * recipe.batch_size
        if not self.steps:
            raise ConfigError(
                f"batch_size: must be at most the {reader.num_samples} images of {recipe.data}, but got {recipe.batch_size}. "
                "Lower it."
            )
        if shards < processes.world() * max(1, self.loader.workers):
            raise ConfigError(
                f"loader.workers: each of them, in each of the {processes.world()} processes, needs a shard of its own, but "
                f"{recipe.data} has {shards} for {self.loader.workers}. Lower it, or cut the data into more shards."
            )

    def epoch(self, number: int, *, seed: int, device: torch.device) -> Iterator[UpdateShare]:
        """As many batches as the stream says it has images for."""
        images = _stream(self.recipe, self.root, "train", seed=mixed_seed(seed, number))
        images.set_loader_cfg(num_workers=self.loader.workers)
        images.transform = views_of(self.recipe, rendering_of(self.recipe), number=number)
        shares = shares_of(images, self.recipe, self.loader, number=number, seed=seed, device=device, steps=self.steps)
        for share in shares:
            for batch in share.batches if number == 1 else ():  # each look waits for a GPU, and one epoch has them all
                _check_labels(batch.labels, self.num_classes, self.recipe)
            yield share


class StreamedJudged:
    """Images of a stream, all judged by the first process: a stream can't be cut into equal parts."""

    def __init__(self, recipe: FullRecipe, manifest: Manifest, root: Path | None):
        self.recipe, self.root, self.num_classes = recipe, root, len(manifest.class_names)
        self.loader = loader_of(recipe)
        self.num_images = _stream(recipe, root, "validation", seed=0).reader.num_samples

    def chunks(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """In the order of the shards."""
        if processes.rank() == 0:
            yield from self._all(device)
        processes.wait_for_first()

    def _all(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        images = _stream(self.recipe, self.root, "validation", seed=0)
        images.reader.dist_num_replicas = 1
        for chunk, labels in judging_loader(images, self.recipe, self.loader, device):
            _check_labels(labels, self.num_classes, self.recipe)
            yield chunk, labels


def _stream(recipe: FullRecipe, root: Path | None, split: str, *, seed: int) -> IterableImageDataset:
    forget_commands()
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
        why = in_one_line(error)
        raise ConfigError(
            f"data={recipe.data} must lie under {home} already, with an _info.json that lists its {split} shards, but: {why}. "
            "Put it there, or set NAS_DATA to its folder."
        ) from None


def _check_labels(labels: Tensor, num_classes: int, recipe: FullRecipe) -> None:
    most = int(labels.max())
    if most >= num_classes:
        raise ConfigError(f"classes: must be all of {recipe.data}, but it has label {most} and classes says {num_classes}.")
