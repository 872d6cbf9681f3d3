"""What is left of a space's choices on small maps: options that build the same function there are one architecture.

On a map of side s a window of 2s - 1 reaches everywhere from anywhere, so that a larger one is the same. On a map of one
position pooling gives nothing, random mixing is the identity, and the heads of attention make no difference.
"""

from collections.abc import Sequence
from typing import Any

from nas.space.architecture import Architecture, Stage
from nas.space.mixers import Mixer, row_of
from nas.space.search_space import SearchSpace

SMALL_SIDE = 2  # side of a map up to which a token mixer has hardly anything to mix


def simplest(architecture: Architecture, space: SearchSpace, sides: Sequence[int]) -> Architecture:
    """The cheapest architecture of `space` that is the same function as `architecture` where stage i has maps of `sides[i]`."""
    pairs = zip(architecture.stages, sides, strict=True)
    stages = tuple(_simplest(stage, space, number, side) for number, (stage, side) in enumerate(pairs, start=1))
    return architecture.model_copy(update={"stages": stages})


def _simplest(stage: Stage, space: SearchSpace, number: int, side: int) -> Stage:
    mixer = row_of(stage)
    if side == 1 and mixer.alone in space.options(number, "mixer"):
        return Stage(**{**stage.model_dump(), "mixer": mixer.alone})
    alike = {f: alike_options(space.options(number, f), f, mixer, side, stage.option(f)) for f in mixer.options}
    changes = {field: options[0] for field, options in alike.items() if options}
    return Stage(**{**stage.model_dump(), **changes}) if changes else stage


def alike_options(options: Sequence[Any], field: str, row: Mixer, side: int, value: Any) -> list[Any]:
    """Those of a mixer's `options` for a field that are the same as `value` on maps of that side, the cheapest first."""
    reach = 2 * side - 1
    if field == row.window:
        return sorted(option for option in options if min(option, reach) == min(value, reach))
    return list(options) if field in row.idle_alone and side == 1 else []


def is_told_apart(space: SearchSpace, number: int, field: str, side: int) -> bool:
    """Whether some two options of a stage's field can be told apart on maps of that side."""
    if field == "mixer":
        return side > 1
    rows = [row for row in map(space.row, space.options(number, "mixer")) if field in row.options]
    options = space.options(number, field)
    return not rows or any(len(alike_options(options, field, row, side, options[0])) < len(options) for row in rows)
