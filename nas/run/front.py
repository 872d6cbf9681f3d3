"""Which trials form the front of a run, and how much of the objectives' box it dominates."""

import numpy as np

from nas.pareto import hypervolume_of, pareto
from nas.run.record import Record
from nas.run.settings.search import Search
from nas.space.constraints import extreme

STANDARD_ERRORS = 2.0  # of an accuracy, by which a network off the front may yet be expected to be on it


def front_records(records: list[Record], search: Search) -> list[Record]:
    """The affordable complete trials that no other dominates, cheapest first."""
    able, points = _complete(records, search)
    chosen = [able[i] for i in pareto(points)]
    return sorted(chosen, key=lambda r: (r.cost.of(search.objectives[1]), r.number))


def near_front(records: list[Record], search: Search, *, images: int) -> list[Record]:
    """The affordable complete trials that nothing dominates by more than the noise of so many validation images.

    They hold all that may stand on the front of expected accuracies once the search is through, so that its weights are kept.
    """
    able, points = _complete(records, search)
    best = points[pareto(points)]
    spread = np.sqrt(points[:, :1] * (1 - points[:, :1]) / images)
    is_ahead = best[:, 0] + STANDARD_ERRORS * spread < points[:, :1]  # (points, best)
    is_no_dearer = (best[:, 1:] <= points[:, None, 1:]).all(axis=2)
    return [able[i] for i in np.flatnonzero(~(is_ahead & is_no_dearer).any(axis=1))]


def _complete(records: list[Record], search: Search) -> tuple[list[Record], np.ndarray]:
    """The affordable complete trials, and what is to be minimised of them: (trials, objectives)."""
    able = [r for r in records if r.is_whole and search.constraints.allow(r.cost)]
    return able, np.array([objectives(r, search) for r in able]).reshape(len(able), len(search.objectives))


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
