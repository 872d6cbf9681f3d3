"""What a decoding process makes of an image file for a training: a random part of it, and what the device is to do to that.

timm draws it all, as its own loader would: the part (RandomResizedCropAndInterpolation), and RandAugment or AutoAugment, which
are given a list to write their operations on in the place of an image. Draws come from Python's and NumPy's generators.
"""

import random
from functools import cache, partial
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import AugmentOp, AutoAugment, RandAugment, auto_augment_transform, rand_augment_transform
from timm.data.transforms import RandomResizedCropAndInterpolation
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

from nas.data.decoding import EIGHT_BITS, Rendering, as_rgb, refuse_large
from nas.errors import ConfigError
from nas.recipes.full import Loader
from nas.retraining.operations import MODES, MOVES, NOTHING, OPERATIONS
from nas.training.augment import CROP_ASPECT

USUAL_AREA = (0.08, 1.0)  # share of the image that is seen, arXiv:1409.4842, section 6
NUMBERS = {name: number for number, name in enumerate(OPERATIONS)}

Steps = list[tuple[float, float]]
"""Numbers of operations and their arguments, one after the other."""


class View(NamedTuple):
    """An image as a training is to see it."""

    pixels: Tensor
    """uint8 `(3, S, S)`, the part that is seen."""
    mirrored: bool
    steps: Tensor
    """float32 `(L, 2)`, as `operate` takes them."""


class Views:
    """Random views of images, at one size."""

    def __init__(
        self, loader: Loader, *, size: int, rendering: Rendering, area: tuple[float, float] | None = None, flip: bool = False
    ):
        self.size, self.rendering, self.flip = size, rendering, flip
        self.area = area or USUAL_AREA
        self.modes = [InterpolationMode(mode) for mode in _modes(loader)]
        self.policy = policy_of(loader, size)
        self.jitter = 0.0 if self.policy and "3a" not in str(loader.auto_augment) else loader.color_jitter or 0.0
        self.length = (_length(self.policy) if self.policy else 0) + (len(JITTERED) if self.jitter else 0)

    def __call__(self, image: Image.Image) -> View:
        """A view of an image that need not be decoded yet; what can't be decoded raises anything."""
        pixels = decoded_pixels(image, self.rendering)
        place = RandomResizedCropAndInterpolation.get_params(pixels, self.area, CROP_ASPECT)  # top, left, height, width
        seen = resized_crop(pixels, *place, [self.size, self.size], random.choice(self.modes), antialias=True)
        mirrored = self.flip and random.random() < 0.5
        steps = self._steps()
        padded = steps + (self.length - len(steps)) * [(NOTHING, 0.0)]
        return View(seen, mirrored, torch.tensor(padded, dtype=torch.float32).view(-1, 2))

    def _steps(self) -> Steps:
        steps: Steps = self.policy([]) if self.policy else []
        if self.jitter:
            low, high = max(0.0, 1 - self.jitter), 1 + self.jitter
            steps = steps + [(NUMBERS[name], random.uniform(low, high)) for name in random.sample(JITTERED, len(JITTERED))]
        return steps


JITTERED = ("brightness", "contrast", "color")  # in an order that is drawn, as by torchvision's ColorJitter


def draw_by(*seeds: int) -> None:
    """From here on Python's and NumPy's generators draw by these seeds, each from 0 up."""
    random.seed(" ".join(map(str, seeds)))
    np.random.seed([seed % 2**32 for seed in seeds])


def policy_of(loader: Loader, size: int) -> RandAugment | AutoAugment | None:
    """timm's RandAugment or AutoAugment, which adds its operations to the Steps that it is called with; None without a text.

    ConfigError for a text that timm can't read.
    """
    text = loader.auto_augment
    if text is None:
        return None
    hints: dict[str, Any] = {"translate_const": int(size * 0.45)}  # of a move by pixels, as timm's create_transform has it
    read = rand_augment_transform if text.startswith("rand") else auto_augment_transform
    try:
        policy = read(text, hints)
    except (AssertionError, ValueError, KeyError, IndexError):  # timm says no more
        raise ConfigError(
            f"loader.auto_augment: must be a text that timm reads, such as rand-m9-mstd0.5-inc1, original or v0 (AugMix, which "
            f"mixes several chains, isn't computed in batches), but got {text!r}."
        ) from None
    for operation in _operations(policy):
        operation.aug_fn = partial(_noted, operation.aug_fn.__name__, _modes(loader))
    return policy


def _modes(loader: Loader) -> tuple[str, ...]:
    return MODES if loader.interpolation == "random" else (loader.interpolation,)


def _operations(policy: RandAugment | AutoAugment) -> list[AugmentOp]:
    return policy.ops if isinstance(policy, RandAugment) else [operation for part in policy.policy for operation in part]


def _length(policy: RandAugment | AutoAugment) -> int:
    """Most operations that one image meets."""
    return policy.num_layers if isinstance(policy, RandAugment) else max(map(len, policy.policy))


def _noted(name: str, modes: tuple[str, ...], steps: Steps, argument: float = 0.0, **_: object) -> Steps:
    """Stands where timm's function of that name does, which would change an image."""
    if name == "gaussian_blur_rand":
        name, argument = "gaussian_blur", random.uniform(0.1, 2 * argument)
    if name in MOVES:
        name = f"{name} {random.choice(modes)}"
    return [*steps, (NUMBERS[name], argument)]


def decoded_pixels(image: Image.Image, rendering: Rendering) -> Tensor:
    """RGB pixels `(3, H, W)`. A plain JPEG file is decoded by torchvision, which takes less time for the same pixels; all else,
    and what torchvision can't read, by Pillow."""
    is_plain = image.format == "JPEG" and image.mode == "RGB" and (rendering.white or EIGHT_BITS) >= EIGHT_BITS
    decode, file = _jpeg_decoder(), getattr(image, "fp", None)  # no file once Pillow has decoded it
    if is_plain and decode and isinstance(file, BytesIO):
        refuse_large(image, rendering)
        try:
            return decode(torch.frombuffer(bytearray(file.getbuffer()), dtype=torch.uint8))
        except RuntimeError:  # Pillow may do better, or say why not
            pass
    return torch.from_numpy(np.array(as_rgb(image, rendering))).permute(2, 0, 1)


@cache
def _jpeg_decoder() -> Any:
    """torchvision's, where its version has one."""
    try:
        from torchvision.io import decode_jpeg
    except ImportError:
        return None
    return decode_jpeg
