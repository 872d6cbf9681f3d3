"""The `constraints:` section of a search: which candidates are affordable, and the nearest one that is."""

import random
from typing import Any

from pydantic import model_validator

from nas.config import Value
from nas.errors import Infeasible
from nas.space.architecture import Architecture
from nas.space.costs import Cost
from nas.space.search_space import SearchSpace
from nas.units import Quantity

PROBES = 400  # random architectures looked at before a space is called empty
REPAIR_STEPS = 60


class Limits(Value):
    """The smallest and the largest value allowed, both included; a bare number is the largest."""

    min: Quantity | None = None
    max: Quantity | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_is_max(cls, data: Any) -> Any:
        return {"max": data} if isinstance(data, int | float | str) else data

    @model_validator(mode="after")
    def _ordered(self) -> "Limits":
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min must not be above max, but got min {self.min} and max {self.max}")
        return self

    def excess(self, value: int) -> float:
        """How far outside `value` lies, relative to the limit it breaks; 0 inside."""
        if self.max is not None and value > self.max:
            return (value - self.max) / max(self.max, 1)
        if self.min is not None and value < self.min:
            return 1 - value / self.min
        return 0.0


class Constraints(Value):
    """Limits on what a candidate costs; they are met before anything is trained."""

    macs: Limits = Limits()
    params: Limits = Limits()
    """Trainable ones."""
    frozen_params: Limits = Limits()
    """Of random mixers: never trained, but stored and loaded."""
    activation_bytes: Limits = Limits()
    """What an ideal compiler needs at once for one image in float32; eager execution peaks higher."""

    def excess(self, cost: Cost) -> dict[str, float]:
        """Relative excess of each broken limit; empty when `cost` is affordable."""
        excesses = {name: getattr(self, name).excess(getattr(cost, name)) for name in type(self).model_fields}
        return {name: value for name, value in excesses.items() if value > 0}

    def allow(self, cost: Cost) -> bool:
        """Whether `cost` is within every limit."""
        return not self.excess(cost)


def random_architecture(space: SearchSpace, rng: random.Random) -> Architecture:
    """One architecture, every open choice uniform."""
    return space.draw(lambda name, options: rng.choice(options))


def repair(
    architecture: Architecture, space: SearchSpace, constraints: Constraints, *, rng: random.Random
) -> Architecture | None:
    """An affordable architecture near `architecture`, the best single change at a time; None where that ends in a dead end."""

    def excess(candidate: Architecture) -> float:
        return sum(constraints.excess(space.cost(candidate)).values())

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


def check_reachable(space: SearchSpace, constraints: Constraints) -> None:
    """Nothing, if some architecture is affordable; Infeasible with what the space can reach if none was found."""
    rng = random.Random(0)
    probes = [random_architecture(space, rng) for _ in range(PROBES)]
    if any(constraints.allow(space.cost(a)) for a in probes):
        return
    if any(repair(a, space, constraints, rng=rng) for a in probes[:20]):
        return
    lines = ["constraints: no architecture of this space meets them all."]
    for name in type(constraints).model_fields:
        limits = getattr(constraints, name)
        if limits != Limits():
            low, high = extreme(space, name, sign=1), extreme(space, name, sign=-1)
            wanted = ", ".join(f"{k} {v:,}" for k, v in limits.model_dump(exclude_none=True).items())
            lines.append(f"  constraints.{name} asks for {wanted}; the space reaches {low:,} to {high:,}.")
    raise Infeasible("\n".join([*lines, "Loosen a limit or widen the space."]))


def extreme(space: SearchSpace, metric: str, *, sign: int) -> int:
    """Smallest (sign 1) or largest (sign -1) value of a cost in `space`, by single changes until none improves."""
    current = space.draw(lambda name, options: options[0])
    value = getattr(space.cost(current), metric)
    while True:
        best = min(space.neighbours(current), key=lambda n: sign * getattr(space.cost(n), metric), default=current)
        reached = getattr(space.cost(best), metric)
        if sign * reached >= sign * value:
            return value
        current, value = best, reached
