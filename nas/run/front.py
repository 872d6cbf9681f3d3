"""Which trials form the front of a run, and how much of the objectives' box it dominates."""

import math

from nas.pareto import hypervolume_of, pareto
from nas.run.record import Record, TrialState
from nas.run.settings import Search
from nas.space.constraints import extreme

STANDARD_ERRORS = 2.0  # of an accuracy, by which a network off the front may yet be expected to be on it


def front_records(records: list[Record], search: Search) -> list[Record]:
    """The affordable complete trials that no other dominates, cheapest first."""
    able = [r for r in records if r.state == TrialState.COMPLETE and search.constraints.allow(r.cost)]
    chosen = [able[i] for i in pareto([objectives(r, search) for r in able])]
    return sorted(chosen, key=lambda r: (r.cost.of(search.objectives[1]), r.number))


def near_front(records: list[Record], search: Search, *, images: int) -> list[Record]:
    """The affordable complete trials that nothing dominates by more than the noise of so many validation images.

    They hold all that may stand on the front of expected accuracies once the search is through, so that its weights are kept.
    """
    able = [r for r in records if r.state == TrialState.COMPLETE and search.constraints.allow(r.cost)]
    best = [objectives(r, search) for r in front_records(records, search)]
    return [r for r in able if not any(_is_beaten(objectives(r, search), other, images=images) for other in best)]


def _is_beaten(own: tuple[float, ...], other: tuple[float, ...], *, images: int) -> bool:
    spread = math.sqrt(own[0] * (1 - own[0]) / images)
    return other[0] + STANDARD_ERRORS * spread < own[0] and all(a <= b for a, b in zip(other[1:], own[1:], strict=True))


def objectives(record: Record, search: Search) -> tuple[float, ...]:
    """A complete trial's objectives, all to be minimised: its error first."""
    assert record.accuracy is not None
    return (1 - record.accuracy, *(record.cost.of(name) for name in search.objectives[1:]))


def reference_costs(search: Search) -> list[float]:
    """Upper corner of each cost for the hypervolume: its limit, else the most that the space can cost."""
    set_limits = search.constraints.limits
    limits = [(name, set_limits[name].max if name in set_limits else None) for name in search.objectives[1:]]
    corners = [extreme(search.space, n, sign=-1, cost_of=search.cost) if most is None else most for n, most in limits]
    return [corner or 1 for corner in corners]  # 1 where nothing costs anything


def front_hypervolume(best: list[Record], search: Search, references: list[float]) -> float:
    """Share of the box from no cost and accuracy 1 to the reference costs and accuracy 0 that the front `best` dominates."""
    points = []
    for record in best:
        error, *costs = objectives(record, search)
        points.append((error, *(cost / top for cost, top in zip(costs, references, strict=True))))
    return hypervolume_of(points, [1.0] * len(search.objectives))
