"""A sampler for one expensive objective and others known before: it proposes what should widen the front most.

The expensive one is predicted by a Gaussian process; candidates are mutants of the front, crossings and random draws. Proposed
is that with the largest expected hypervolume improvement at its known cost, and every second time that with the largest
improvement in one draw from the posterior (Thompson sampling), so that the search does not settle where the prediction is
surest of itself. Points that still run count as what is foreseen of them (kriging believer), those that wait at a rung not at
all. What it proposes follows from the study while one training runs at a time. Where more do, a prediction and its candidates
may serve for a few results more: see `lag`.
"""

import math
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from nas.pareto import pareto
from nas.run.settings.search import Search
from nas.search.samplers.axes import Params
from nas.search.samplers.domain import Costs
from nas.search.samplers.foresight import Foresight, foresight_of, lag
from nas.search.samplers.gain import expected_gain
from nas.search.samplers.gaussian_process import one_thread
from nas.search.samplers.history import History, Observation, log_costs
from nas.search.samplers.point_sampler import Candidate, PointSampler
from nas.search.samplers.registry import SamplerMaker

SHORTER_START = 0.5  # of these where other searches say where to look; every second one is of their fronts
START = 16  # points spread over the cost before the prediction takes over
START_OF_SEVERAL = 8  # the same over several costs: more of them gain less (experiments/searchers)
WORTH = 4  # full trainings that the start may cost where a rung makes it cheap
CANDIDATES = 240
MUTANTS, CROSSINGS = 0.65, 0.2  # shares of the candidates; the rest is drawn at random
MOST_CHANGES = 3  # of a mutant
FEW = 24  # affordable candidates below which mutants are repaired
DRAWN_EVERY = 2  # so often a draw decides


def make_front(search: Search, history: History) -> SamplerMaker:
    """A FrontSampler of the search. It needs no question's seed: it draws by the search's seed and the number of points.

    It starts with more random points where the first rung is cheap.
    """
    return lambda seed: FrontSampler(history, seed=search.proposal_seed, start=start_of(search))


class CandidatePool(NamedTuple):
    """Candidates and what is known of each."""

    candidates: list[Candidate]
    points: list[Params]
    """Those of their parameters that count."""
    costs: np.ndarray
    """(candidates, costs)."""
    features: np.ndarray
    """(candidates, columns)."""
    guesses: np.ndarray
    """Equally likely values of each, (candidates, guesses)."""


class FrontSampler(PointSampler):
    """Proposes what should gain most hypervolume at its known cost: expected hypervolume improvement, or Thompson sampling.

    The first `start` points are spread over the costs; START or START_OF_SEVERAL if it isn't given.
    """

    def __init__(self, history: History, *, seed: int, start: int | None = None):
        super().__init__(history, seed=seed)
        self._given_start = start

    def ranked(self, observations: list[Observation], rng: np.random.Generator) -> list[Candidate]:
        """Candidates by what they should gain; the first ones of a study by how far their costs lie from those before."""
        finished = [point for point in observations if point.value is not None]
        if len(observations) < self._start(observations) or len(finished) < 2:
            drawn = [Candidate(params, {"by": "start"}) for params in self._domain.drawn(CANDIDATES, rng)]
            first = [self._learnt, drawn] if len(observations) % 2 == 0 else [drawn, self._learnt]
            return [candidate for candidates in first for candidate in self._spread(candidates, observations)]
        with one_thread():
            foresight = foresight_of(observations, self._history, seed=self._seed)
            pool = self._pool(observations, foresight, rng)
            expected = self._expected(pool, observations, foresight, rng)
        order = sorted(range(len(expected)), key=lambda i: -_worth(expected[i]))
        return [Candidate(pool.candidates[i].params, {**pool.candidates[i].why, **expected[i]}) for i in order]

    def _start(self, observations: list[Observation]) -> int:
        start = self._given_start
        if start is None:
            start = least_start(len(observations[0].costs) if observations else 1)
        return math.ceil(start * SHORTER_START) if self._history.related else start

    def most_promising(
        self, observations: list[Observation], foresight: Foresight, rng: np.random.Generator, *, number: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Costs and features of those untried candidates whose expected gain is largest: (number, costs), (number, columns)."""
        tried = self._tried(observations)
        pool = self._drawn_pool(observations, foresight, rng)
        gains = [each["expected_gain"] for each in self._expected(pool, observations, foresight, rng)]
        order = [i for i in np.argsort(-np.array(gains), kind="stable") if pool.points[i] not in tried]
        return pool.costs[order[:number]], pool.features[order[:number]]

    def _spread(self, candidates: list[Candidate], observations: list[Observation]) -> list[Candidate]:
        """The candidate whose costs lie farthest from all that was asked before first."""
        if not observations or not candidates:
            return candidates
        costs, taken = [self._costs(candidate) for candidate in candidates], [point.costs for point in observations]
        apart = cdist(log_costs(self._domain, costs), log_costs(self._domain, taken))  # (candidates, observations)
        return [candidates[i] for i in np.argsort(-apart.min(axis=1), kind="stable")]

    @cached_property
    def _learnt(self) -> list[Candidate]:
        """The fronts of other searches."""
        points = {}
        for task in self._history.related:
            for i in pareto([(*costs, -value) for costs, value in zip(task.costs, task.values, strict=True)]):
                whole = self._domain.axes.first(task.params[i])
                if self._domain.costs(whole) is not None:
                    points[tuple(whole.values())] = whole
        return [Candidate(params, {"by": "learnt"}) for params in points.values()]

    def _candidates(self, front: list[Observation], rng: np.random.Generator) -> list[Candidate]:
        children = {tuple(candidate.params.values()): candidate for candidate in self._learnt}
        for number in range(CANDIDATES + FEW):
            if number >= CANDIDATES and len(children) >= FEW:
                break
            child = self._child(front, rng)
            if number >= CANDIDATES:  # hardly any was affordable: some are made so
                child = child._replace(params=self._domain.repaired(child.params, rng) or child.params)
            if self._domain.costs(child.params) is not None:
                children[tuple(child.params.values())] = child
        return list(children.values()) or [Candidate(self._domain.draw(rng), {"by": "random"})]

    def _pool(self, observations: list[Observation], foresight: Foresight, rng: np.random.Generator) -> CandidatePool:
        """Candidates for the next point; the same ones for as many points as the prediction may lag behind by, while enough of
        them are untried."""
        if most := lag(observations):
            key = (foresight, len(observations) // most)
            pool = self._history.once("pool", key, lambda: self._drawn_pool(observations, foresight, rng))
            tried = self._tried(observations)
            if len(list(islice((point for point in pool.points if point not in tried), FEW))) == FEW:
                return pool
        return self._drawn_pool(observations, foresight, rng)

    def _drawn_pool(self, observations: list[Observation], foresight: Foresight, rng: np.random.Generator) -> CandidatePool:
        candidates = self._candidates(_parents(observations, foresight), rng)
        points = [self._domain.active(candidate.params) for candidate in candidates]
        costs = [self._costs(candidate) for candidate in candidates]
        features = self._history.features(points, costs)
        return CandidatePool(candidates, points, np.array(costs, dtype=float), features, foresight.guesses(features))

    def _costs(self, candidate: Candidate) -> Costs:
        costs = self._domain.costs(candidate.params)
        assert costs is not None, "the costs of a candidate are known"
        return costs

    def _child(self, front: list[Observation], rng: np.random.Generator) -> Candidate:
        kind, axes = rng.random(), self._domain.axes
        parent, other = (front[rng.integers(len(front))] for _ in range(2))
        if kind < MUTANTS:
            return Candidate(axes.mutant(parent.params, rng, most=MOST_CHANGES), {"by": "mutant", "parents": [parent.number]})
        if kind < MUTANTS + CROSSINGS:
            crossed = axes.crossing(parent.params, other.params, rng)
            return Candidate(crossed, {"by": "crossing", "parents": [parent.number, other.number]})
        return Candidate(self._domain.likely(rng), {"by": "random"})

    def _expected(
        self, pool: CandidatePool, observations: list[Observation], foresight: Foresight, rng: np.random.Generator
    ) -> list[dict[str, float]]:
        """What is foreseen for each candidate: its value, the spread about it, its gain in hypervolume, and that in a draw."""
        columns = {"predicted": pool.guesses.mean(axis=1), "spread": pool.guesses.std(axis=1)}
        points, reach = believed_points(observations, foresight), reached_costs(observations)
        columns["expected_gain"] = expected_gain(pool.costs, pool.guesses, points, reach=reach)
        if len(observations) % DRAWN_EVERY == 0:
            columns["drawn_gain"] = expected_gain(pool.costs, foresight.drawn(pool.features, rng), points, reach=reach)
        if self._domain.belief is not None:
            columns["belief_score"] = pool.features[:, -1]
        return [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]


def _worth(expected: dict[str, float]) -> float:
    """What a candidate is chosen by: its gain in a draw, else on average."""
    return expected.get("drawn_gain", expected["expected_gain"])


def start_of(search: Search) -> int:
    """How many points a search starts with, spread over the costs."""
    share = search.proxy.rungs[0] / search.proxy.epochs if search.proxy.rungs else 1.0
    return start_at(share, trials=search.trials, num_costs=len(search.objectives) - 1)


def least_start(num_costs: int) -> int:
    """How many points a search starts with where no rung is cheap."""
    return START if num_costs == 1 else START_OF_SEVERAL


def start_at(share: float, *, trials: int, num_costs: int = 1) -> int:
    """How many points a search of so many `trials` starts with if its first rung costs a `share` of a training: the cheaper the
    rung the more, since what it shows of points all over the space is foreseen of all others."""
    return max(least_start(num_costs), min(round(WORTH / share), trials // 4))


def _parents(observations: list[Observation], foresight: Foresight) -> list[Observation]:
    """The front of what finished and, as foreseen, of what reached a rung."""
    settled = [point for point in observations if point.value is not None]
    if stopped := [point for point in observations if point.value is None and point.early]:
        believed = foresight.means(stopped)
        settled += [point._replace(value=value) for point, value in zip(stopped, believed, strict=True)]
    return [settled[i] for i in pareto([(*point.costs, -(point.value or 0.0)) for point in settled])]


def reached_costs(observations: list[Observation]) -> np.ndarray:
    """The highest of each cost among all points that were asked for: (costs,)."""
    return np.array([point.costs for point in observations], dtype=float).max(axis=0)


def believed_points(observations: list[Observation], foresight: Foresight) -> np.ndarray:
    """The rows (costs..., value) from which a gain is counted: what finished as measured, what runs as believed.

    That a pending point will come to what is foreseen of it is the kriging believer (Ginsbourger et al. 2010).
    """
    points = [(*point.costs, point.value) for point in observations if point.value is not None]
    if pending := [point for point in observations if point.pending]:
        believed = foresight.means(pending)
        points += [(*point.costs, value) for point, value in zip(pending, believed, strict=True)]
    return np.array(points)
