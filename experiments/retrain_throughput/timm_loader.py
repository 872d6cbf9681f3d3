"""Training batches as timm's own loader makes them: Pillow decodes, crops and augments each image in the decoding processes."""

from collections.abc import Iterator
from itertools import islice

import torch
from timm.data import create_loader
from torch.utils.data import Dataset

from nas.data.decoding import as_rgb
from nas.data.manifest import MEAN, STD
from nas.recipes.full import FullRecipe
from nas.retraining.loader import Loaded, loader_of
from nas.training.augment import mixed
from nas.training.batches import UpdateShare, mixed_seed
from nas.training.loss import Batch


class Pictures(Dataset):
    """Listed images in an order, as Pillow has them; timm's loader sets `transform`."""

    def __init__(self, loaded: Loaded, order: list[int]):
        self.images, self.order, self.transform = loaded.images, order, None

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, place: int):
        number = self.order[place]
        return self.transform(as_rgb(self.images.undecoded(number))), self.images.items[number][1]


class ByTimm:
    """The batches of a `Loaded`, the same images in the same order, augmented by timm's loader, in one process."""

    def __init__(self, loaded: Loaded):
        self.loaded, self.steps, self.num_images = loaded, loaded.steps, loaded.num_images

    def epoch(self, number: int, *, seed: int, device: torch.device) -> Iterator[UpdateShare]:
        """Each image at most once."""
        recipe: FullRecipe = self.loaded.recipe
        settings, drawn, size = loader_of(recipe), mixed_seed(seed, number), recipe.size_at(number)
        order = torch.randperm(len(self.loaded.images), generator=torch.Generator().manual_seed(drawn))
        torch.manual_seed(drawn)  # by which its processes draw
        batches = create_loader(
            Pictures(self.loaded, order[: self.num_images].tolist()), (3, size, size), recipe.batch_size, is_training=True,
            scale=recipe.crop_scale, hflip=0.5 if recipe.flip else 0.0, auto_augment=settings.auto_augment,
            color_jitter=settings.color_jitter, interpolation=settings.interpolation, re_prob=recipe.random_erasing,
            re_mode=settings.erasing, mean=MEAN, std=STD, num_workers=settings.workers, device=device,
            pin_memory=device.type == "cuda", persistent_workers=False,
        )  # fmt: skip
        generator = torch.Generator(device).manual_seed(drawn)
        for images, labels in islice(batches, self.steps):
            images = images.contiguous(memory_format=torch.channels_last)
            batch = Batch(*mixed(images, recipe, generator=generator), labels, partners=labels.flip(0))
            yield UpdateShare([batch], len(labels))
