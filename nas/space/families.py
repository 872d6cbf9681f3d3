"""A family of published designs scaled to any cost, such as `caformer@0.6G`.

The rule. The published sizes are fixed points. Between two of them depths and widths go from one to the other, both on a
logarithmic scale. Below the smallest and above the largest they shrink and grow together by one factor, the proportions of the
depths (1:1:3:1) and of the widths kept. Widths are multiples of 8 channels, under attention of its head_dim. Where a block
more would overshoot the cost and a block less fall short of it, the widths make up for the rest.
"""

import math
import re
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

from nas.errors import ConfigError, unknown
from nas.space.architecture import Architecture
from nas.space.costs import COUNTED, Cost, device_in
from nas.space.reference import FAMILIES, Family, design
from nas.units import UNITS, count, quantity

CHANNELS_STEP = 8
OCTAVES_BELOW, OCTAVES_ABOVE = 5.0, 1.0  # how far below the smallest and above the largest published size a family reaches
HALVINGS = 24  # of the range in which a size is looked for
SLACK = 0.2  # largest relative distance between a cost asked for and the member's own
NAME = re.compile(r"(?P<family>[a-z0-9]+)@(?P<at>[0-9.]+[kMGTP]?)(?:-(?P<by>[a-z_]+(?:@[A-Za-z0-9_-]+)?))?")

CountCost = Callable[[Architecture], Cost]


class Scaled(NamedTuple):
    """A member of a family, by what it is to cost."""

    family: str
    at: int
    by: str = "macs"

    @property
    def name(self) -> str:
        """Such as `caformer@0.6G`, or `caformer@3M-params` where the cost is not MACs."""
        return f"{self.family}@{short(self.at)}" + ("" if self.by == "macs" else f"-{self.by}")


def short(number: int) -> str:
    """A count exactly, with the unit that takes the fewest letters: 0.6G, 50M, 1234."""
    ways = [f"{number / size:.12g}{unit}" for unit, size in UNITS.items()]
    exact = [way for way in ways if quantity(way) == number and "e" not in way]
    return min([*exact, str(number)], key=lambda way: (len(way), way))


def named(name: str) -> Scaled | None:
    """The family, cost and amount in a name such as `caformer@0.6G`; None where there is no @ in it; ConfigError."""
    if "@" not in name:
        return None
    match = NAME.fullmatch(name)
    if match is None or not isinstance(at := quantity(match["at"]), int) or at < 1:
        raise ConfigError(f"a scaled family must be named as in caformer@0.6G or caformer@3M-params, but got {name!r}.")
    if match["family"] not in FAMILIES:
        raise ConfigError(unknown("family", match["family"], FAMILIES))
    by = match["by"] or "macs"
    if by not in COUNTED and device_in(by) is None:
        raise ConfigError(unknown("cost", by, COUNTED))
    return Scaled(match["family"], at, by)


def is_scaled(name: str) -> bool:
    """Whether a name, right or wrong, is meant as that of a scaled member: nothing else has a family's name before an @."""
    return name.partition("@")[0] in FAMILIES and "@" in name


def designed(name: str, cost_of: CountCost, *, stem_strides: Sequence[int] = ()) -> Architecture:
    """The published design or the scaled member of that name; ConfigError where there is none."""
    member = named(name)
    return design(name) if member is None else scaled_to(member, cost_of, stem_strides=stem_strides)


def scaled_to(member: Scaled, cost_of: CountCost, *, stem_strides: Sequence[int] = ()) -> Architecture:
    """The member whose cost is nearest to what is asked for; ConfigError with the family's range where it lies outside.

    `cost_of` counts at the resolution and number of classes that matter; a stem of the published stride that is not among
    `stem_strides` takes their first.
    """
    family = FAMILIES[member.family]
    smallest = cost_of(family.make(*next(iter(family.sizes.values()))))
    if device_in(member.by) and member.by not in [estimate.name for estimate in smallest.estimates]:
        raise ConfigError(
            f"{member.name}: what it takes on a device is known in a search alone that names its file in devices. Scale it by "
            "macs, or name the file there."
        )
    size = _Sizes(family, cost_of, member.by, tuple(stem_strides))
    if member.at in size.published:
        return size.published[member.at]
    low, high = -OCTAVES_BELOW, len(size.family.sizes) - 1 + OCTAVES_ABOVE
    least, most = size.cost(size.rounded(low)), size.cost(size.rounded(high))
    if not least <= member.at <= most:
        raise ConfigError(
            f"{member.name}: {member.family} reaches from {count(least)} to {count(most)} {member.by} here, but got "
            f"{count(member.at)}. Ask for a cost between them, with its unit, such as 0.6G."
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if size.cost(size.rounded(middle)) < member.at else (low, middle)
    stretches, members = zip(*(size.widened(end, member.at) for end in (low, high)), strict=True)
    nearest = members[stretches.index(min(stretches))]
    if abs(math.log(size.cost(nearest) / member.at)) > SLACK:
        raise ConfigError(
            f"{member.name}: the nearest {member.family} costs {count(size.cost(nearest))} {member.by}, since its widths are "
            f"whole numbers of {CHANNELS_STEP} channels, under attention of a head. Ask for that, or for a larger one."
        )
    return nearest


class _Sizes:
    """The sizes of a family along one line: published size number t at t = 0, 1, ..., an octave of both below and above it."""

    def __init__(self, family: Family, cost_of: CountCost, by: str, stem_strides: tuple[int, ...]):
        self.family, self.cost_of, self.by, self.stem_strides = family, cost_of, by, stem_strides
        self.shapes = list(family.sizes.values())
        heads = family.make(*self.shapes[0]).stages
        self.steps = [stage.head_dim or CHANNELS_STEP for stage in heads]
        members = [self.make(depths, widths) for depths, widths in self.shapes]
        self.published = {self.cost(architecture): architecture for architecture in members}

    def make(self, depths: Sequence[int], widths: Sequence[int]) -> Architecture:
        """The member of a shape, with a stem of an allowed stride."""
        architecture = self.family.make(depths, widths)
        if not self.stem_strides or architecture.stem_stride in self.stem_strides:
            return architecture
        return architecture.model_copy(update={"stem_stride": self.stem_strides[0]})

    def cost(self, architecture: Architecture) -> float:
        return self.cost_of(architecture).of(self.by)

    def rounded(self, t: float, widen: float = 1.0) -> Architecture:
        """The member at t, its widths times `widen`, each to the nearest step."""
        depths, widths = self.shape(t)
        steps = [max(1, math.floor(widen * w / step + 0.5)) for w, step in zip(widths, self.steps, strict=True)]
        return self.make(depths, [n * step for n, step in zip(steps, self.steps, strict=True)])

    def shape(self, t: float) -> tuple[list[int], list[float]]:
        """Depths, and widths before they are rounded, at t."""
        last = len(self.shapes) - 1
        if t < 0 or t > last:
            (depths, widths), factor = self.shapes[0 if t < 0 else last], 2 ** (t if t < 0 else t - last)
            blocks = math.gcd(*depths)
            times = max(1, math.floor(blocks * factor + 0.5))
            return [d // blocks * times for d in depths], [w * factor for w in widths]
        first = min(int(t), last - 1)
        lower, upper = self.shapes[first], self.shapes[first + 1]
        share, pairs = t - first, zip(lower, upper, strict=True)
        between = [[a ** (1 - share) * b**share for a, b in zip(*pair, strict=True)] for pair in pairs]
        return [math.floor(d + 0.5) for d in between[0]], between[1]

    def widened(self, t: float, wanted: int) -> tuple[float, Architecture]:
        """How far the widths at t must go to meet a cost with the depths at t, and the member that meets it best."""
        low, high = 0.5, 2.0
        for _ in range(HALVINGS // 2):
            middle = math.sqrt(low * high)
            low, high = (middle, high) if self.cost(self.rounded(t, middle)) < wanted else (low, middle)
        depths, widths = self.shape(t)
        exact = [low * w / step for w, step in zip(widths, self.steps, strict=True)]
        around = [sorted({max(1, math.floor(n)), math.ceil(n)}) for n in exact]
        choices = [[n * step for n, step in zip(numbers, self.steps, strict=True)] for numbers in product(*around)]
        members = [self.make(depths, choice) for choice in choices]
        return abs(math.log(low)), min(members, key=lambda m: abs(math.log(self.cost(m) / wanted)))
