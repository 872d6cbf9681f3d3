"""Batch augmentation on the device: whole batches of uint8 pixels in, normalised images out, all seeded."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas.training.data import MEAN, STD
from nas.training.recipe import Recipe

ERASED_AREA = (0.02, 1 / 3)  # share of the image, arXiv:1708.04896, section 4.2
ERASED_ASPECT = (0.3, 1 / 0.3)  # height over width, likewise


def augment(pixels: Tensor, recipe: Recipe, *, generator: torch.Generator) -> tuple[Tensor, float]:
    """Normalised images `(B, 3, H, W)` from uint8 pixels `(B, H, W, 3)`, and the share that each image has in what it became.

    The share is 1 without mixup; with it, the rest belongs to the image that stands there in the reversed batch. The generator
    lives on the pixels' device; the same state draws the same batch.
    """
    pixels = moved(pixels, padding=recipe.crop_padding, flip=recipe.flip, generator=generator)
    images = normalised(pixels, channels_last=recipe.channels_last)
    if recipe.random_erasing:
        images = erased(images, probability=recipe.random_erasing, generator=generator)
    return mixed(images, alpha=recipe.mixup, generator=generator) if recipe.mixup else (images, 1.0)


def normalised(pixels: Tensor, *, channels_last: bool = True) -> Tensor:
    """Images `(B, 3, H, W)` in float32 with the mean and deviation that timm's models expect, from uint8 `(B, H, W, 3)`."""
    mean, std = (torch.tensor(values, device=pixels.device) * 255 for values in (MEAN, STD))
    images = ((pixels.float() - mean) / std).permute(0, 3, 1, 2)  # (B, 3, H, W)
    return images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def moved(pixels: Tensor, *, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to `padding` pixels with black behind it, half of them mirrored; `(B, H, W, 3)` is kept."""
    if not (padding or flip):
        return pixels
    number, height, width, _ = pixels.shape
    rows, columns = (torch.arange(side, device=pixels.device).expand(number, side) for side in (height, width))  # (B, side)
    if flip:
        mirrored = _uniform(number, 1, like=pixels, generator=generator) < 0.5  # (B, 1)
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if padding:
        shifts = torch.randint(2 * padding + 1, (2, number, 1), device=pixels.device, generator=generator)
        rows, columns = rows + shifts[0], columns + shifts[1]
        pixels = functional.pad(pixels, (0, 0, padding, padding, padding, padding))  # (B, H + 2 padding, W + 2 padding, 3)
    each = torch.arange(number, device=pixels.device)[:, None, None]
    return pixels[each, rows[:, :, None], columns[:, None, :]]  # (B, H, W, 3)


def erased(images: Tensor, *, probability: float, generator: torch.Generator) -> Tensor:
    """A random rectangle of some images set to the mean colour, 0 after normalising; `(B, 3, H, W)` is kept."""
    number, _, height, width = images.shape
    chance, area, aspect, top, left = _uniform(5, number, like=images, generator=generator)  # each (B,)
    area = torch.lerp(*map(area.new_tensor, ERASED_AREA), area)
    aspect = torch.lerp(*(area.new_tensor(bound).log() for bound in ERASED_ASPECT), aspect).exp()
    tall, wide = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)  # shares of height and width
    rows = _span(top * (1 - tall), tall, height)[:, None, :, None]
    columns = _span(left * (1 - wide), wide, width)[:, None, None, :]
    return images.masked_fill((chance < probability)[:, None, None, None] & rows & columns, 0.0)


def _span(start: Tensor, length: Tensor, side: int) -> Tensor:
    """Which of `side` pixels lie between shares `start` and `start + length`; `(B,)` becomes `(B, side)`."""
    centres = (torch.arange(side, device=start.device) + 0.5) / side
    return (centres >= start[:, None]) & (centres < (start + length)[:, None])


def mixed(images: Tensor, *, alpha: float, generator: torch.Generator) -> tuple[Tensor, float]:
    """The batch blended with itself in reverse, and the share of the first; one share a batch. arXiv:1710.09412, equation 1."""
    seed = int(torch.randint(2**31, (), device=images.device, generator=generator))  # torch draws no beta from a generator
    share = float(np.random.default_rng(seed).beta(alpha, alpha))
    return images.lerp(images.flip(0), 1 - share), share


def _uniform(*shape: int, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, device=like.device, generator=generator)
