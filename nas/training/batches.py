"""Where a training's batches come from: decoded images in memory here, files in `nas/retraining/loader.py`."""

import math
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from nas.data.manifest import Images
from nas.errors import ConfigError
from nas.recipes.recipe import Recipe
from nas.training import processes
from nas.training.augment import augment, normalised
from nas.training.loss import Batch

EVALUATION_BATCH = 256


class UpdateShare(NamedTuple):
    """What one process does of one update of the weights."""

    batches: list[Batch]
    """Gradients are added up over these."""
    num_images: int
    """Of the whole update, in all processes together."""


class Batches(Protocol):
    """The training images, an epoch at a time; every process has the same number of steps."""

    steps: int
    """Updates of the weights in an epoch."""
    num_images: int
    """In an epoch, over all processes."""

    def epoch(self, number: int, *, seed: int, device: torch.device) -> Iterator[UpdateShare]:
        """This process's shares of an epoch, counted from 1; what is drawn depends on these values and the process alone."""


class Judged(Protocol):
    """Images to be judged as they are."""

    num_images: int
    """In all processes together."""

    def chunks(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """This process's images `(B, 3, H, W)`, normalised, and labels `(B,)`."""


class InMemory:
    """Decoded images, cut into batches of nearly equal size so that none is left out, augmented on the device."""

    def __init__(self, images: Images, recipe: Recipe):
        self.images, self.recipe = images, recipe
        self.num_images = len(images.labels)
        self.steps = num_steps(self.num_images, recipe)
        if self.num_images // self.steps < processes.world():
            raise ConfigError(
                f"batch_size: each of the {processes.world()} processes needs an image of every batch, but {self.num_images} "
                f"images in batches of {recipe.batch_size} leave {self.num_images // self.steps}. Start fewer processes."
            )

    def epoch(self, number: int, *, seed: int, device: torch.device) -> Iterator[UpdateShare]:
        """Each batch in as many parts as there are processes."""
        drawn = mixed_seed(seed, number)
        generator = torch.Generator(device).manual_seed(own_seed(drawn))
        order = torch.randperm(self.num_images, generator=torch.Generator().manual_seed(drawn))
        for chosen in order.tensor_split(self.steps):
            own = chosen.tensor_split(processes.world())[processes.rank()]
            pixels, labels = (torch.from_numpy(part[own.numpy()]).to(device) for part in self.images)
            mixed = augment(pixels, self.recipe, image_size=self.recipe.size_at(number), generator=generator)
            batch = Batch(*mixed, labels, partners=labels.flip(0))
            largest, most = math.ceil(len(chosen) / processes.world()), self.recipe.part_size
            parts = 1 if most is None else math.ceil(largest / most)  # as many in every process: batch norms meet at each
            yield UpdateShare(_none_empty(batch.pieces(parts)), len(chosen))


def _none_empty(parts: list[Batch]) -> list[Batch]:
    """The parts of a batch; in the place of an empty one, where others' shares are larger, the first with no weight."""
    return [part if len(part.labels) else parts[0]._replace(weight=0.0) for part in parts]


class InMemoryJudged:
    """Decoded images of which each process judges an equal part."""

    def __init__(self, images: Images, recipe: Recipe):
        self.images, self.recipe, self.num_images = images, recipe, len(images.labels)

    def chunks(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """In the order of the images."""
        own = Images(*(part[processes.rank() :: processes.world()] for part in self.images))
        for start in range(0, len(own.labels), EVALUATION_BATCH):
            part = (array[start : start + EVALUATION_BATCH].copy() for array in own)
            pixels, labels = (torch.from_numpy(array).to(device) for array in part)
            yield normalised(pixels, channels_last=self.recipe.channels_last), labels


def num_steps(num_images: int, recipe: Recipe) -> int:
    """Batches in an epoch."""
    return max(1, math.ceil(num_images / recipe.batch_size))


def mixed_seed(seed: int, epoch: int) -> int:
    """A seed for one epoch that no neighbouring (seed, epoch) shares."""
    return seed * 1_000_003 + epoch


def own_seed(seed: int) -> int:
    """A seed for this process; that of the first, or the only one, is `seed`."""
    return seed + processes.rank() * 1_000_000_000_039
