"""A setting that goes by a network's size, as the papers' do: one value, or one for each size. It imports without torch."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Annotated, TypeVar

from pydantic import Discriminator, Field, Tag

from nas.config.values import known_name
from nas.space.architecture import Architecture
from nas.space.reference import CONVFORMER_SIZES, POOLFORMER_SIZES

SIZES = tuple({**POOLFORMER_SIZES, **CONVFORMER_SIZES})

Setting = TypeVar("Setting")
BySize = Annotated[
    Annotated[Setting, Tag("(one)")]
    | Annotated[dict[Annotated[str, known_name("size", SIZES)], Setting], Field(min_length=1), Tag("(several)")],
    Discriminator(lambda value: "(several)" if isinstance(value, dict) else "(one)"),
]
"""A value, or values by the names of the papers' sizes: {s18: 0.2, s36: 0.3}. A network of another size lies on a line."""


def at_size(setting: float | dict[str, float], architecture: Architecture) -> float:
    """The one value of a setting for a network: that of its size, or on a line between the next smaller and larger ones.

    Below the smallest and above the largest of the setting's sizes it is level.
    """
    if not isinstance(setting, dict):
        return setting
    points = [(weight, setting[size]) for weight, size in _weighed(setting)]
    return round(_on_line(points, _weight_of(architecture)), 4)


def place(sizes: Iterable[str], architecture: Architecture) -> str:
    """Where a network stands among sizes, in words, such as "as s36" or "between s18 and s36"."""
    own, points = _weight_of(architecture), _weighed(sizes)
    below = [size for weight, size in points if weight <= own]
    above = [size for weight, size in points if weight >= own]
    if not below or not above:
        return f"as {points[0][1]}, the smallest" if above else f"as {points[-1][1]}, the largest"
    return f"as {below[-1]}" if below[-1] == above[0] else f"between {below[-1]} and {above[0]}"


def settled(setting: float | dict[str, float]) -> float:
    """The value of a setting in a recipe that was made one network's."""
    assert not isinstance(setting, dict), "for_network chose one value"
    return setting


def _weighed(sizes: Iterable[str]) -> list[tuple[int, str]]:
    """The sizes by weight; a name that two families share stands twice, since they divide their blocks differently."""
    return sorted((weight_of_blocks(*shape), size) for size in sizes for shape in shapes(size))


def shapes(size: str) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
    """Depths and widths of the designs that the papers call by this size."""
    for family in (POOLFORMER_SIZES, CONVFORMER_SIZES):
        if size in family:
            yield family[size][0], family[size][1]


def weight_of_blocks(depths: Sequence[int], widths: Sequence[int]) -> int:
    """Depth times width squared, summed over the stages: the weights of the channel MLPs but for a factor."""
    return sum(depth * width**2 for depth, width in zip(depths, widths, strict=True))


def _weight_of(architecture: Architecture) -> int:
    return weight_of_blocks([stage.depth for stage in architecture.stages], [stage.width for stage in architecture.stages])


def _on_line(points: list[tuple[int, float]], x: int) -> float:
    """The value at `x` of the line through `points`, level before the first and after the last."""
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[0][1] if x < points[0][0] else points[-1][1]
