"""Sizes that follow from an architecture: channels, convolutions of the stem, sides of maps, drop path rates.

The exporter copies this file, so it reads the architecture by attribute only and imports nothing.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nas.space.architecture import Architecture, Stage

IMAGE_CHANNELS = 3
HEAD_RATIO = 4  # hidden width of the MLP head over the last stage's width, arXiv:2210.13452, section 3
STEP_KERNEL = 3  # side of each filter in a stem of two steps, arXiv:2106.14881, section 4
MLP_KERNEL = 3  # side of the filters inside a channel MLP, arXiv:1801.04381, table 1


def channels(ratio: float, width: int) -> int:
    """Channels of a layer that is `ratio` times as wide as its input, rounded down."""
    return int(ratio * width)


def stem_padding(kernel: int, stride: int) -> int:
    """Zeros on each side of the image: 2 for the papers' 7x7 stride 4, 3 for 7x7 stride 2."""
    return (kernel - stride + 1) // 2


def stem_convolutions(architecture: "Architecture") -> list[tuple[int, int]]:
    """Kernel and stride of each convolution of the stem; of two steps the first takes stride 2 where there is one to take."""
    kernel, stride = architecture.stem_kernel, architecture.stem_stride
    if architecture.stem_steps == 1:
        return [(kernel, stride)]
    first = min(stride, 2)
    return [(STEP_KERNEL, first), (STEP_KERNEL, stride // first)]


def stem_widths(architecture: "Architecture") -> list[int]:
    """Channels behind each convolution of the stem: half of the first stage's between two, as in timm's stems of two steps."""
    width = architecture.stages[0].width
    return [width] if architecture.stem_steps == 1 else [max(1, width // 2), width]


def stem_sides(architecture: "Architecture", image_size: int) -> list[int]:
    """Side of the square map behind each convolution of the stem; below 1 where the image is too small for it."""
    sides = [image_size]
    for kernel, stride in stem_convolutions(architecture):
        sides.append((sides[-1] + 2 * stem_padding(kernel, stride) - kernel) // stride + 1)
    return sides[1:]


def needs_map(stage: "Stage") -> bool:
    """Whether something beside the token mixer needs `(B, C, H, W)`: a convolution in the MLP, or squeeze-and-excitation."""
    return stage.mlp == "conv" or stage.se_ratio > 0


def map_sides(architecture: "Architecture", image_size: int) -> list[int]:
    """Side of each stage's square map; below 1 where the image is too small for the stem."""
    sides = [stem_sides(architecture, image_size)[-1]]
    for _ in architecture.stages[1:]:
        sides.append((sides[-1] + 1) // 2)  # a 3x3 convolution of stride 2 with one zero on each side
    return sides


def drop_path_rates(last: float, depths: list[int]) -> list[list[float]]:
    """Each stage's rates, rising linearly from 0 in the first block to `last`. arXiv:1603.09382, equation 4."""
    step = last / max(1, sum(depths) - 1)
    return [[step * (sum(depths[:i]) + j) for j in range(depth)] for i, depth in enumerate(depths)]
