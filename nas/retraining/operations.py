"""What RandAugment and its kin do to images, in batches on the device: a table with a row an operation.

Each does to a batch what timm's function of its name does with Pillow to one image (timm.data.auto_augment), to a rounding;
only bicubic sampling is a little softer (torch's kernel has a = -0.75, Pillow's -1). Which operation an image meets, and with
what argument, timm draws: `views.py`.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2.functional import autocontrast, equalize
from torchvision.transforms.v2.functional import invert as inverse

from nas.data.manifest import MEAN

NOTHING = -1.0
"""In the place of an operation's number."""
MODES = ("bilinear", "bicubic")
"""How an image that was moved is sampled."""
OUTSIDE = [min(255.0, round(255 * mean)) for mean in MEAN]  # what is seen where an image was moved away: red, green, blue
LUMA = [0.299, 0.587, 0.114]  # ITU-R BT.601, as Pillow's
BLUR_REACH = 3  # standard deviations of a Gaussian that its kernel holds on either side

Operation = Callable[[Tensor, Tensor], Tensor]
"""Images `(N, 3, H, W)`, whole numbers from 0 to 255 in float32, and an argument each, `(N,)`, to images in that range."""
Matrix = Callable[[Tensor, int], list[list[Tensor]]]
"""Arguments `(N,)` and the images' side to two rows of three: where a point (right, down, 1) of the result lies in the image,
in pixels from its corner."""


def operate(images: Tensor, steps: Tensor) -> Tensor:
    """Changes uint8 images `(B, 3, S, S)` in place, each by its steps one after the other, and returns them.

    `steps` `(B, L, 2)`, on the CPU, holds the number of an operation among OPERATIONS, or NOTHING, and its argument.
    """
    rows = list(OPERATIONS.values())
    for numbers, arguments in ((step[:, 0], step[:, 1]) for step in steps.unbind(1)):  # each (B,)
        for number in numbers[numbers != NOTHING].unique().tolist():
            chosen = (numbers == number).nonzero().flatten()  # (N,)
            places, argument = (part.to(images.device, non_blocking=True) for part in (chosen, arguments[chosen]))
            images[places] = rows[int(number)](images[places].float(), argument).clamp(0, 255).to(torch.uint8)
    return images


def _each(values: Tensor) -> Tensor:
    return values[:, None, None, None]  # (N, 1, 1, 1)


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, device=images.device)[:, None, None]
    return (images * weights).sum(1, keepdim=True).round()  # (N, 1, H, W)


def _from(start: Tensor, images: Tensor, factor: Tensor) -> Tensor:
    """Images drawn away from `start`, which is what they are at factor 0; fractions are cut off, as by ImageEnhance."""
    return start + (images - start) * _each(factor)


def _color(images: Tensor, factor: Tensor) -> Tensor:
    return _from(_grey(images), images, factor)


def _desaturate(images: Tensor, factor: Tensor) -> Tensor:
    return _color(images, (1 - factor).clamp(0, 1))


def _contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _from(_grey(images).mean((1, 2, 3), keepdim=True).round(), images, factor)


def _brightness(images: Tensor, factor: Tensor) -> Tensor:
    return images * _each(factor)


def _sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Away from what Pillow's ImageFilter.SMOOTH makes of it: a mean of 3x3 pixels in which the middle counts five times."""
    smooth = images.clone()  # the outermost pixels stay as they are
    smooth[:, :, 1:-1, 1:-1] = ((9 * functional.avg_pool2d(images, 3, stride=1) + 4 * images[:, :, 1:-1, 1:-1]) / 13).round()
    return _from(smooth, images, factor)


def _auto_contrast(images: Tensor, _: Tensor) -> Tensor:
    return autocontrast(images.to(torch.uint8))


def _equalize(images: Tensor, _: Tensor) -> Tensor:
    return equalize(images.to(torch.uint8))


def _invert(images: Tensor, _: Tensor) -> Tensor:
    return inverse(images.to(torch.uint8))


def _solarize(images: Tensor, threshold: Tensor) -> Tensor:
    return torch.where(images < _each(threshold), images, 255 - images)


def _solarize_add(images: Tensor, amount: Tensor) -> Tensor:
    return torch.where(images < 128, images + _each(amount), images)


def _posterize(images: Tensor, bits: Tensor) -> Tensor:
    step = _each(2 ** (8 - bits.clamp(max=8)))
    return (images / step).floor() * step


def _gaussian_blur(images: Tensor, radius: Tensor) -> Tensor:
    """By a Gaussian whose deviation is the radius; Pillow's is made of three box filters, which come close to it."""
    number, reach = len(images), 2 * BLUR_REACH  # timm's radius is 2 at most
    places = torch.arange(-reach, reach + 1, device=images.device)
    weights = (-((places / radius[:, None]) ** 2) / 2).exp()  # (N, K)
    weights = (weights / weights.sum(1, keepdim=True)).repeat_interleave(3, dim=0)  # (3N, K)
    padded = functional.pad(images, 4 * [reach], mode="replicate").flatten(0, 1)[None]  # (1, 3N, H + K - 1, W + K - 1)
    across = functional.conv2d(padded, weights[:, None, None, :], groups=3 * number)
    return functional.conv2d(across, weights[:, None, :, None], groups=3 * number)[0].unflatten(0, (number, 3)).round()


def _shear_x(factor: Tensor, side: int) -> list[list[Tensor]]:
    one, zero = torch.ones_like(factor), torch.zeros_like(factor)
    return [[one, factor, zero], [zero, one, zero]]


def _shear_y(factor: Tensor, side: int) -> list[list[Tensor]]:
    one, zero = torch.ones_like(factor), torch.zeros_like(factor)
    return [[one, zero, zero], [factor, one, zero]]


def _translate_x(pixels: Tensor, side: int) -> list[list[Tensor]]:
    one, zero = torch.ones_like(pixels), torch.zeros_like(pixels)
    return [[one, zero, pixels], [zero, one, zero]]


def _translate_y(pixels: Tensor, side: int) -> list[list[Tensor]]:
    one, zero = torch.ones_like(pixels), torch.zeros_like(pixels)
    return [[one, zero, zero], [zero, one, pixels]]


def _rotate(degrees: Tensor, side: int) -> list[list[Tensor]]:
    """Anticlockwise, around the middle."""
    cos, sin, middle = (degrees * math.pi / 180).cos(), (degrees * math.pi / 180).sin(), side / 2
    return [[cos, -sin, middle * (1 - cos + sin)], [sin, cos, middle * (1 - cos - sin)]]


def _warped(images: Tensor, argument: Tensor, *, matrix: Matrix, mode: str) -> Tensor:
    """Images seen through a matrix, with OUTSIDE around them."""
    side = images.shape[-1]
    rows = [[a, b, a + b - 1 + 2 * c / side] for a, b, c in matrix(argument, side)]  # from pixels to torch's -1 to 1
    theta = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=1)  # (N, 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)  # (N, S, S, 2)
    sampled = functional.grid_sample(images, grid, mode=mode, padding_mode="border", align_corners=False)
    inside = ((grid >= -1) & (grid < 1)).all(-1)[:, None]  # (N, 1, S, S)
    outside = torch.tensor(OUTSIDE, device=images.device)[:, None, None]
    return torch.where(inside, sampled, outside)


MOVES: dict[str, Matrix] = {
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x_abs": _translate_x,
    "translate_y_abs": _translate_y,
    "translate_x_rel": lambda share, side: _translate_x(share * side, side),
    "translate_y_rel": lambda share, side: _translate_y(share * side, side),
    "rotate": _rotate,
}
"""Operations that move an image, by the names of timm's functions."""
OPERATIONS: dict[str, Operation] = {
    **{f"{name} {mode}": partial(_warped, matrix=matrix, mode=mode) for name, matrix in MOVES.items() for mode in MODES},
    "auto_contrast": _auto_contrast,
    "equalize": _equalize,
    "invert": _invert,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "posterize": _posterize,
    "color": _color,
    "desaturate": _desaturate,
    "contrast": _contrast,
    "brightness": _brightness,
    "sharpness": _sharpness,
    "gaussian_blur": _gaussian_blur,
}
"""By the names of timm's functions, those that move an image with the mode behind it."""
