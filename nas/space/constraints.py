"""The `constraints:` section of a search: which candidates are affordable, and the nearest one that is."""

import random
from functools import cached_property
from typing import Annotated, Any, Generic, TypeVar

from pydantic import Field, model_validator

from nas.config.values import Value, broken
from nas.errors import Infeasible
from nas.space.architecture import MOST_PIXELS, Architecture
from nas.space.costs import BY_SIZE, COUNTED, FORETOLD, ON, Cost, cost_at_size, on_device, size_in
from nas.space.families import CountCost
from nas.space.search_space import SearchSpace
from nas.units import Quantity

PROBES = 400  # random architectures looked at before a space is called empty
REPAIR_STEPS = 60

N = TypeVar("N", int, float)


class Range(Value, Generic[N]):
    """The smallest and the largest value allowed, both included; a bare number is the largest."""

    min: N | None = None
    max: N | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_is_max(cls, data: Any) -> Any:
        return {"max": data} if isinstance(data, int | float | str) else data

    @model_validator(mode="after")
    def _ordered(self) -> "Range[N]":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max, but got min {self.min} and max {self.max}")
        return self

    def excess(self, value: float) -> float:
        """How far outside `value` lies, relative to the limit it breaks; 0 inside."""
        if self.max is not None and value > self.max:
            return (value - self.max) / max(self.max, 1)
        if self.min is not None and value < self.min:
            return 1 - value / self.min
        return 0.0


Milliseconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Limits(Range[Quantity]):
    """Limits on a count, at the image size of the space or `at` another one."""

    at: Annotated[int, Field(strict=True, ge=1, le=MOST_PIXELS)] | None = None
    """Pixels a side at which the cost is counted; for macs and activation_bytes only."""


TimeLimits = Range[Milliseconds]


class Constraints(Value):
    """Limits on what a candidate costs; they are met before anything is trained."""

    macs: Limits = Limits()
    params: Limits = Limits()
    """Trainable ones."""
    frozen_params: Limits = Limits()
    """Of random mixers: never trained, but stored and loaded."""
    activation_bytes: Limits = Limits()
    """What an ideal compiler needs at once for one image in float32; eager execution peaks higher."""
    latency_ms: dict[str, TimeLimits] = {}  # noqa: RUF012 (frozen)
    """For a batch on a device of `devices:`, by its name; the upper end of what is foretold must meet it."""

    @model_validator(mode="after")
    def _sizes_matter(self) -> "Constraints":
        for name in COUNTED:
            limits = getattr(self, name)
            if limits.at is not None and name not in BY_SIZE:
                rule = f"is for {' and '.join(BY_SIZE)}, which go by the image size, but got {limits.at}; leave it out"
                raise broken(f"{name}.at", rule)
            if limits.at is not None and (limits.min, limits.max) == (None, None):
                raise broken(f"{name}.at", f"needs a limit beside it, but got {limits.at} alone; add max, such as 8G")
        return self

    @cached_property
    def limits(self) -> dict[str, Range]:
        """Every limit that is set, by the name of its cost."""
        own = [(name, getattr(self, name)) for name in COUNTED]
        counted = {name if limits.at is None else cost_at_size(name, limits.at): limits for name, limits in own}
        foretold = {on_device(name, device): limits for name in FORETOLD for device, limits in getattr(self, name).items()}
        return {name: limits for name, limits in {**counted, **foretold}.items() if (limits.min, limits.max) != (None, None)}

    def excess(self, cost: Cost) -> dict[str, float]:
        """Relative excess of each broken limit; empty when `cost` is affordable."""
        excesses = {name: limits.excess(cost.at_most(name)) for name, limits in self.limits.items()}
        return {name: value for name, value in excesses.items() if value > 0}

    def allow(self, cost: Cost) -> bool:
        """Whether `cost` is within every limit."""
        return not self.excess(cost)


def random_architecture(space: SearchSpace, rng: random.Random) -> Architecture:
    """One architecture, every open choice uniform."""
    return space.draw(lambda name, options: rng.choice(options))


def repair(
    architecture: Architecture,
    space: SearchSpace,
    constraints: Constraints,
    *,
    rng: random.Random,
    cost_of: CountCost | None = None,
) -> Architecture | None:
    """An affordable architecture near `architecture`, the best single change at a time; None where that ends in a dead end.

    `cost_of` gives what a search's devices foretell as well; None counts what needs no device.
    """

    def excess(candidate: Architecture) -> float:
        return sum(constraints.excess((cost_of or space.cost)(candidate)).values())

    current, worst = architecture, excess(architecture)
    for _ in range(REPAIR_STEPS):
        if worst == 0:
            return current
        ranked = [(excess(n), rng.random(), n) for n in space.neighbours(current)]
        best = min(ranked, default=(worst, 0.0, current), key=lambda r: r[:2])
        if best[0] >= worst:
            return None
        worst, current = best[0], best[2]
    return None


def check_reachable(space: SearchSpace, constraints: Constraints, *, cost_of: CountCost | None = None) -> None:
    """Nothing, if some architecture is affordable; Infeasible with what the space can reach if none was found."""
    rng, count_cost = random.Random(0), cost_of or space.cost
    probes = [random_architecture(space, rng) for _ in range(PROBES)]
    if any(constraints.allow(count_cost(a)) for a in probes):
        return
    if any(repair(a, space, constraints, rng=rng, cost_of=cost_of) for a in probes[:20]):
        return
    lines = ["constraints: no architecture of this space meets them all."]
    for name, limits in constraints.limits.items():
        low, high = (extreme(space, name, sign=sign, cost_of=cost_of) for sign in (1, -1))
        wanted = ", ".join(f"{k} {v:,}" for k, v in limits.model_dump(exclude_none=True).items() if k != "at")
        wanted += f" at {limits.at} px" if isinstance(limits, Limits) and limits.at is not None else ""
        lines.append(f"  constraints.{limit_path(name)} asks for {wanted}; the space reaches {_exact(low)} to {_exact(high)}.")
    raise Infeasible("\n".join([*lines, "Loosen a limit or widen the space."]))


def limit_path(name: str) -> str:
    """Where in `constraints:` the limit of a cost stands."""
    return name.partition(ON)[0] if size_in(name) else name.replace(ON, ".")


def _exact(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


def extreme(space: SearchSpace, metric: str, *, sign: int, cost_of: CountCost | None = None) -> float:
    """Smallest (sign 1) or largest (sign -1) value of a cost in `space`, by single changes until none improves.

    Of a foretold cost it is the upper end of the interval, against which limits are held.
    """

    def value_of(architecture: Architecture) -> float:
        return (cost_of or space.cost)(architecture).at_most(metric)

    current = space.draw(lambda name, options: options[0])
    value = value_of(current)
    while True:
        best = min(space.neighbours(current), key=lambda n: sign * value_of(n), default=current)
        reached = value_of(best)
        if sign * reached >= sign * value:
            return value
        current, value = best, reached
