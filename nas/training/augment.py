"""Batch augmentation on the device: whole batches of uint8 pixels in, normalised images out, all seeded."""

import math
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nas.data.manifest import MEAN, STD
from nas.recipes.recipe import Recipe

PIXEL_MEAN = [255 * mean for mean in MEAN]
PIXEL_SCALE = [1 / (255 * deviation) for deviation in STD]
ERASED_AREA = (0.02, 1 / 3)  # share of the image, arXiv:1708.04896, section 4.2
ERASED_ASPECT = (0.3, 1 / 0.3)  # height over width, likewise
CROP_ASPECT = (3 / 4, 4 / 3)  # width over height, arXiv:1409.4842, section 6


class Mixed(NamedTuple):
    """A batch of which each image is blended with, or partly covered by, the one at its place in the reversed batch."""

    images: Tensor
    """Normalised, `(B, 3, H, W)`."""
    share: float
    """Of each image in what it became; 1 where nothing is mixed."""


def augment(pixels: Tensor, recipe: Recipe, *, image_size: int, generator: torch.Generator) -> Mixed:
    """Normalised images of side `image_size` from uint8 pixels `(B, H, W, 3)`, mixed if the recipe mixes.

    The generator lives on the pixels' device; the same state draws the same batch.
    """
    if recipe.crop_scale is None:
        pixels = moved(pixels, padding=recipe.crop_padding, flip=recipe.flip, generator=generator)
        images = resized(normalised(pixels, channels_last=recipe.channels_last), image_size)
    else:
        images = cropped(pixels, recipe, area=recipe.crop_scale, image_size=image_size, generator=generator)
    if recipe.random_erasing:
        images = erased(images, probability=recipe.random_erasing, generator=generator)
    return mixed(images, recipe, generator=generator)


def resized(images: Tensor, image_size: int) -> Tensor:
    """Images `(B, 3, H, W)` brought to that side, smoothed where they shrink."""
    if images.shape[-1] == image_size:
        return images
    return functional.interpolate(images, size=(image_size, image_size), mode="bilinear", antialias=True)


def normalised(pixels: Tensor, *, channels_last: bool = True) -> Tensor:
    """Images `(B, 3, H, W)` in float32 with the mean and deviation that timm's models expect, from uint8 `(B, H, W, 3)`."""
    width = pixels.shape[2]
    mean, scale = (torch.tensor(values, device=pixels.device).repeat(width) for values in (PIXEL_MEAN, PIXEL_SCALE))  # (3W,)
    rows = (pixels.flatten(2) - mean).mul_(scale)  # (B, H, 3W): long rows are ten times as fast as threes
    images = rows.unflatten(2, (width, 3)).permute(0, 3, 1, 2)  # (B, 3, H, W)
    return images.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


def moved(pixels: Tensor, *, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image shifted by up to `padding` pixels with black behind it, half of them mirrored; `(B, H, W, 3)` is kept."""
    number, height, width, _ = pixels.shape
    if flip:
        mirrored = _uniform(number, like=pixels, generator=generator) < 0.5  # (B,)
        pixels = pixels.clone()
        pixels[mirrored] = pixels[mirrored].flip(2)
    if padding:
        down, right = torch.randint(2 * padding + 1, (2, number), device=pixels.device, generator=generator)  # each (B,)
        rows = functional.pad(pixels, (0, 0, *4 * [padding])).flatten(2)  # (B, H + 2 padding, 3 (W + 2 padding))
        windows = rows.unfold(1, height, 1).unfold(2, 3 * width, 3)  # (B, 2 padding + 1, 2 padding + 1, H, 3W), nothing copied
        pixels = windows[torch.arange(number, device=pixels.device), down, right].unflatten(2, (width, 3))  # (B, H, W, 3)
    return pixels


def cropped(
    pixels: Tensor, recipe: Recipe, *, area: tuple[float, float], image_size: int, generator: torch.Generator
) -> Tensor:
    """A random part of each image, brought to side `image_size` and normalised: `(B, 3, image_size, image_size)`.

    `area` bounds its share of the image, CROP_ASPECT its shape; it may reach `crop_padding` pixels out of the image, where all
    is black.
    """
    chance, drawn_area, drawn_aspect, down, right = _uniform(5, len(pixels), like=pixels, generator=generator)  # each (B,)
    areas, aspects = _between(area, drawn_area), _log_between(CROP_ASPECT, drawn_aspect)
    padding = 4 * [recipe.crop_padding]
    images = functional.pad(pixels.permute(0, 3, 1, 2).float(), padding)  # (B, 3, H + 2 padding, W + 2 padding)
    inner = pixels.shape[1] / images.shape[2]
    tall, wide = ((x.sqrt().clamp(max=1) * inner) for x in (areas / aspects, areas * aspects))  # shares of the padded sides
    mirror = torch.where(chance < 0.5, -1.0, 1.0) if recipe.flip else torch.ones_like(chance)
    zero = torch.zeros_like(chance)
    rows = [mirror * wide, zero, (2 * right - 1) * (1 - wide), zero, tall, (2 * down - 1) * (1 - tall)]
    theta = torch.stack(rows, dim=1).view(-1, 2, 3)  # (B, 2, 3)
    grid = functional.affine_grid(theta, [len(pixels), 3, image_size, image_size], align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)  # (B, 3, image_size, image_size)
    return normalised(images.permute(0, 2, 3, 1), channels_last=recipe.channels_last)


Fill = Literal["const", "rand", "pixel"]
"""What stands in an erased rectangle: the mean colour (0 after normalising), one random colour, noise."""


def erased(images: Tensor, *, probability: float, generator: torch.Generator, fill: Fill = "const") -> Tensor:
    """A random rectangle of some images filled; `(B, 3, H, W)` and the layout are kept."""
    number, _, height, width = images.shape
    chance, drawn_area, drawn_aspect, top, left = _uniform(5, number, like=images, generator=generator)  # each (B,)
    areas, aspects = _between(ERASED_AREA, drawn_area), _log_between(ERASED_ASPECT, drawn_aspect)
    tall, wide = (areas * aspects).sqrt().clamp(max=1), (areas / aspects).sqrt().clamp(max=1)  # shares of height and width
    rows = _span(top * (1 - tall), tall, height)[:, None, :, None]
    columns = _span(left * (1 - wide), wide, width)[:, None, None, :]
    touched, rectangle = chance < probability, rows & columns  # (B,) and (B, 1, H, W)
    if fill == "const":
        return images.masked_fill(touched[:, None, None, None] & rectangle, 0.0)
    chosen = touched.nonzero().flatten()  # (N,)
    colours = (3, height, width) if fill == "pixel" else (3, 1, 1)
    noise = torch.randn(len(chosen), *colours, device=images.device, generator=generator)
    return images.index_put((chosen,), torch.where(rectangle[chosen], noise, images[chosen]))


def _between(bounds: tuple[float, float], share: Tensor) -> Tensor:
    """What lies a share, from 0 to 1, of the way from the first bound to the second."""
    low, high = bounds
    return torch.lerp(share.new_tensor(low), share.new_tensor(high), share)


def _log_between(bounds: tuple[float, float], share: Tensor) -> Tensor:
    """The same on a logarithmic scale."""
    low, high = bounds
    return torch.lerp(share.new_tensor(low).log(), share.new_tensor(high).log(), share).exp()


def _span(start: Tensor, length: Tensor, side: int) -> Tensor:
    """Which of `side` pixels lie between shares `start` and `start + length`; `(B,)` becomes `(B, side)`."""
    centres = (torch.arange(side, device=start.device) + 0.5) / side
    return (centres >= start[:, None]) & (centres < (start + length)[:, None])


def mixed(images: Tensor, recipe: Recipe, *, generator: torch.Generator) -> Mixed:
    """The batch mixed with itself in reverse, by one share for all of it; as it is where the recipe mixes nothing."""
    ways = [(way, alpha) for way, alpha in ((blended, recipe.mixup), (covered, recipe.cutmix)) if alpha]
    if not ways:
        return Mixed(images, 1.0)
    seed = int(torch.randint(2**31, (), device=images.device, generator=generator))  # torch draws no beta from a generator
    rng = np.random.default_rng(seed)
    way, alpha = ways[rng.integers(len(ways))]
    return way(images, float(rng.beta(alpha, alpha)), rng)


def blended(images: Tensor, share: float, rng: np.random.Generator) -> Mixed:
    """The mean of each image and its partner, weighted by the share. arXiv:1710.09412, equation 1."""
    return Mixed(images.lerp(images.flip(0), 1 - share), share)


def covered(images: Tensor, share: float, rng: np.random.Generator) -> Mixed:
    """A rectangle of 1 - share of each image shows its partner, less where the border cuts it. arXiv:1905.04899, equation 2."""
    height, width = images.shape[2:]
    side = math.sqrt(1 - share)
    top, bottom = _cut(rng.uniform(), side, height)
    left, right = _cut(rng.uniform(), side, width)
    images = images.clone(memory_format=torch.preserve_format)
    images[:, :, top:bottom, left:right] = images.flip(0)[:, :, top:bottom, left:right]
    return Mixed(images, 1 - (bottom - top) * (right - left) / (height * width))


def _cut(centre: float, length: float, side: int) -> tuple[int, int]:
    """First and last-but-one pixel of a piece around `centre`, both shares of `side`."""
    return max(0, round((centre - length / 2) * side)), min(side, round((centre + length / 2) * side))


def _uniform(*shape: int, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, device=like.device, generator=generator)
