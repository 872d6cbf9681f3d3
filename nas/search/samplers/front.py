"""A sampler for one expensive objective and others known before: it proposes what should widen the front most.

The expensive one is predicted by a Gaussian process; candidates are mutants of the front, crossings and random draws. Proposed
is that with the largest expected gain in hypervolume at its known cost, and every second time that with the largest gain if the
values took one course drawn at random (Thompson sampling), lest the search settles where the prediction is surest of itself.
All is read from the study at every question: no hidden state.
"""

from typing import Any

import numpy as np

from nas.pareto import pareto
from nas.search.samplers.base import Candidate, PointSampler
from nas.search.samplers.domain import Costs
from nas.search.samplers.foresight import Foresight
from nas.search.samplers.gain import expected_gain
from nas.search.samplers.gaussian_process import one_thread
from nas.search.samplers.history import Known, described, log_costs

START = 16  # points spread over the costs before the prediction takes over
WORTH = 4  # full trainings that the start may cost where a rung makes it cheap
CANDIDATES = 240
MUTANTS, CROSSINGS = 0.65, 0.2  # shares of the candidates; the rest is drawn at random
MOST_CHANGES = 3  # of a mutant
DRAWN_EVERY = 2  # so often a draw decides


class FrontSampler(PointSampler):
    """Proposes what should gain most hypervolume at its known cost; arguments as for PointSampler.

    The first `start` points are spread over the costs; `start_at` gives their number where most are stopped at a rung.
    """

    def __init__(self, *space_and_cost: Any, start: int = START, **settings: Any):
        super().__init__(*space_and_cost, **settings)
        self._start = start

    def _ranked(self, known: list[Known], rng: np.random.Generator) -> list[Candidate]:
        finished = [k for k in known if k.value is not None]
        if len(known) < self._start or len(finished) < 2:
            candidates = [Candidate(self._domain.draw(rng), {"by": "start"}) for _ in range(CANDIDATES)]
            taken = [k.costs for k in known]
            return [candidates[i] for i in _spread([self._domain.costs(c.params) for c in candidates], taken)]
        with one_thread():
            foresight = Foresight(known, seed=int(rng.integers(2**31)))
            candidates = self._candidates(_parents(known, foresight), rng)
            expected = self._expected(candidates, known, foresight, rng)
        order = sorted(range(len(candidates)), key=lambda i: -expected[i].get("drawn_gain", expected[i]["expected_gain"]))
        return [Candidate(candidates[i].params, {**candidates[i].why, **expected[i]}) for i in order]

    def _candidates(self, front: list[Known], rng: np.random.Generator) -> list[Candidate]:
        found: dict[tuple, Candidate] = {}
        for _ in range(CANDIDATES):
            child = self._child(front, rng)
            if self._domain.costs(child.params) is not None:
                found[tuple(child.params.values())] = child
        return list(found.values()) or [Candidate(self._domain.draw(rng), {"by": "random"})]

    def _child(self, front: list[Known], rng: np.random.Generator) -> Candidate:
        kind, axes = rng.random(), self._domain.axes
        parent, other = (front[rng.integers(len(front))] for _ in range(2))
        if kind < MUTANTS:
            return Candidate(axes.mutant(parent.params, rng, most=MOST_CHANGES), {"by": "mutant", "parents": [parent.number]})
        if kind < MUTANTS + CROSSINGS:
            crossed = axes.crossing(parent.params, other.params, rng)
            return Candidate(crossed, {"by": "crossing", "parents": [parent.number, other.number]})
        return Candidate(self._domain.draw(rng), {"by": "random"})

    def _expected(
        self, candidates: list[Candidate], known: list[Known], foresight: Foresight, rng: np.random.Generator
    ) -> list[dict[str, float]]:
        """What is foreseen for each candidate: its value, the spread about it, its gain in hypervolume, and that in a draw."""
        costs = np.array([self._domain.costs(c.params) for c in candidates], dtype=float)
        features = described(self._domain, [self._domain.active(c.params) for c in candidates], costs)
        guesses, points = foresight.guesses(features), _points(known, foresight)
        told = {"predicted": guesses.mean(axis=1), "spread": guesses.std(axis=1)}
        told["expected_gain"] = expected_gain(costs, guesses, points)
        if len(known) % DRAWN_EVERY == 0:
            told["drawn_gain"] = expected_gain(costs, foresight.drawn(features, rng), points)
        return [dict(zip(told, map(float, row), strict=True)) for row in zip(*told.values(), strict=True)]


def start_at(share: float, *, trials: int) -> int:
    """How many points a search of so many `trials` starts with if its first rung costs a `share` of a training: the cheaper the
    rung the more, since what it shows of points all over the space is foreseen of all others."""
    return max(START, min(round(WORTH / share), trials // 4))


def _parents(known: list[Known], foresight: Foresight) -> list[Known]:
    """The front of what finished and, as foreseen, of what reached a rung."""
    settled = [k for k in known if k.value is not None]
    if stopped := [k for k in known if k.value is None and k.early]:
        believed = foresight.of(stopped).mean(axis=1)
        settled += [k._replace(value=value) for k, value in zip(stopped, believed, strict=True)]
    return [settled[i] for i in pareto([(*k.costs, -k.value) for k in settled])]


def _points(known: list[Known], foresight: Foresight) -> np.ndarray:
    """The rows (costs..., value) from which a gain is counted: what finished as measured, what runs as believed."""
    points = [(*k.costs, k.value) for k in known if k.value is not None]
    if pending := [k for k in known if k.pending]:
        points += [(*k.costs, value) for k, value in zip(pending, foresight.of(pending).mean(axis=1), strict=True)]
    return np.array(points)


def _spread(costs: list[Costs], taken: list[Costs]) -> np.ndarray:
    """Indices of `costs`, that which lies farthest from all those `taken` first."""
    if not taken:
        return np.arange(len(costs))
    apart = np.linalg.norm(log_costs(costs)[:, None] - log_costs(taken), axis=2)  # (costs, taken)
    return np.argsort(-apart.min(axis=1), kind="stable")
