"""Sizes that follow from an architecture: channels, padding, sides of maps, drop path rates.

The exporter copies this file, so it reads the architecture by attribute only and imports nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.space.architecture import Architecture

IMAGE_CHANNELS = 3
HEAD_RATIO = 4  # hidden width of the MLP head over the last stage's width, arXiv:2210.13452, section 3


def channels(ratio: float, width: int) -> int:
    """Channels of a layer that is `ratio` times as wide as its input, rounded down."""
    return int(ratio * width)


def stem_padding(kernel: int, stride: int) -> int:
    """Zeros on each side of the image: 2 for the papers' 7x7 stride 4, 3 for 7x7 stride 2."""
    return (kernel - stride + 1) // 2


def map_sides(architecture: "Architecture", image_size: int) -> list[int]:
    """Side of each stage's square map; below 1 where the image is too small for the stem."""
    kernel, stride = architecture.stem_kernel, architecture.stem_stride
    sides = [(image_size + 2 * stem_padding(kernel, stride) - kernel) // stride + 1]
    for _ in architecture.stages[1:]:
        sides.append((sides[-1] + 1) // 2)  # a 3x3 convolution of stride 2 with one zero on each side
    return sides


def drop_path_rates(last: float, depths: list[int]) -> list[list[float]]:
    """Each stage's rates, rising linearly from 0 in the first block to `last`. arXiv:1603.09382, equation 4."""
    step = last / max(1, sum(depths) - 1)
    return [[step * (sum(depths[:i]) + j) for j in range(depth)] for i, depth in enumerate(depths)]
