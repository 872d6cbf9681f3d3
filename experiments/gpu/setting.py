"""Where the stages run, and the small things that they train."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from nas.data.manifest import Images
from nas.models.metaformer import build
from nas.recipes.recipe import Recipe
from nas.space.architecture import Architecture, Stage
from nas.space.mixers import MIXERS

CLASSES = 10


class Setting(NamedTuple):
    """Where the stages run, and whether only to see that they do."""

    device: str
    dry: bool

    @property
    def torch_device(self) -> torch.device:
        """The same, for torch."""
        return torch.device(self.device)

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU."""
        return self.torch_device.type == "cuda"

    def of(self, full: int, dry: int) -> int:
        """A size, or the small one."""
        return dry if self.dry else full

    def wait(self) -> None:
        """Until the device has done what it was given."""
        if self.is_cuda:
            torch.cuda.synchronize(self.torch_device)


def images(number: int, size: int, *, seed: int = 0) -> Images:
    """Noise with a colour for each class: uint8 `(number, size, size, 3)` and labels."""
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, CLASSES, number)
    pixels = draw.integers(0, 100, (number, size, size, 3), dtype=np.uint8)
    pixels[np.arange(number), :, :, labels % 3] += np.uint8(80)
    return Images(pixels, labels)


def network(setting: Setting, *, seed: int = 0, size: int = 64) -> nn.Module:
    """A small hybrid: convolutions, then attention."""
    torch.manual_seed(seed)
    return build(small_hybrid(setting), image_size=size, num_classes=CLASSES)


def small_hybrid(setting: Setting) -> Architecture:
    """The architecture of `network`."""
    widths, depths = ((8, 16), (1, 1)) if setting.dry else ((32, 64, 160, 256), (2, 2, 4, 2))
    mixers = ("conv", "attention") if setting.dry else ("conv", "conv", "attention", "attention")
    stages = (Stage(mixer=m, depth=d, width=w, **small_heads(m)) for m, d, w in zip(mixers, depths, widths, strict=True))
    return Architecture(stages=tuple(stages))


def recipe(setting: Setting, **changes: Any) -> Recipe:
    """A proxy training of three epochs."""
    size = setting.of(64, 32)
    common = {"image_size": size, "epochs": 3, "batch_size": setting.of(128, 16), "crop_padding": 4, "warmup_epochs": 0.5}
    return Recipe(**{**common, **changes})


def small_heads(mixer: str) -> dict[str, int]:
    return {"head_dim": 8} if "head_dim" in MIXERS[mixer].options else {}
