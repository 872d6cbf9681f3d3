"""A sampler for one expensive objective and others known before: it proposes what should widen the front most.

The expensive one is predicted by a Gaussian process; candidates are mutants of the front, crossings and random draws. Proposed
is that with the largest expected hypervolume improvement at its known cost, and every second time that with the largest
improvement in one draw from the posterior (Thompson sampling), so that the search does not settle where the prediction is
surest of itself. Points that still run count as what is foreseen of them (kriging believer), those that wait at a rung not at
all. Everything is read from the study at every question: there is no hidden state.
"""

import numpy as np
from scipy.spatial.distance import cdist

from nas.pareto import pareto
from nas.run.settings import Search
from nas.search.samplers.domain import Costs
from nas.search.samplers.foresight import Foresight, foresight_of
from nas.search.samplers.gain import expected_gain
from nas.search.samplers.gaussian_process import one_thread
from nas.search.samplers.history import History, Observation, log_costs, point_features
from nas.search.samplers.point_sampler import Candidate, PointSampler
from nas.search.samplers.registry import SamplerMaker

START = 16  # points spread over the costs before the prediction takes over
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


class FrontSampler(PointSampler):
    """Proposes what should gain most hypervolume at its known cost: expected hypervolume improvement, or Thompson sampling.

    The first `start` points are spread over the costs; `start_at` gives their number where most are stopped at a rung.
    """

    def __init__(self, history: History, *, seed: int, start: int = START):
        super().__init__(history, seed=seed)
        self._start = start

    def ranked(self, observations: list[Observation], rng: np.random.Generator) -> list[Candidate]:
        """Candidates by what they should gain; the first ones of a study by how far their costs lie from those before."""
        finished = [point for point in observations if point.value is not None]
        if len(observations) < self._start or len(finished) < 2:
            candidates = [Candidate(params, {"by": "start"}) for params in self._domain.drawn(CANDIDATES, rng)]
            costs = [self._costs(candidate) for candidate in candidates]
            return [candidates[i] for i in self._by_distance(costs, [point.costs for point in observations])]
        with one_thread():
            foresight = foresight_of(observations, self._history, seed=self._seed)
            candidates = self._candidates(_parents(observations, foresight), rng)
            expected = self._expected(candidates, observations, foresight, rng)
        order = sorted(range(len(candidates)), key=lambda i: -expected[i].get("drawn_gain", expected[i]["expected_gain"]))
        return [Candidate(candidates[i].params, {**candidates[i].why, **expected[i]}) for i in order]

    def _by_distance(self, costs: list[Costs], taken: list[Costs]) -> np.ndarray:
        """Indices of `costs`, that which lies farthest from all those `taken` first."""
        if not taken:
            return np.arange(len(costs))
        apart = cdist(log_costs(self._domain, costs), log_costs(self._domain, taken))  # (costs, taken)
        return np.argsort(-apart.min(axis=1), kind="stable")

    def _candidates(self, front: list[Observation], rng: np.random.Generator) -> list[Candidate]:
        children: dict[tuple, Candidate] = {}
        for number in range(CANDIDATES + FEW):
            if number >= CANDIDATES and len(children) >= FEW:
                break
            child = self._child(front, rng)
            if number >= CANDIDATES:  # hardly any was affordable: some are made so
                child = child._replace(params=self._domain.repaired(child.params, rng) or child.params)
            if self._domain.costs(child.params) is not None:
                children[tuple(child.params.values())] = child
        return list(children.values()) or [Candidate(self._domain.draw(rng), {"by": "random"})]

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
        self, candidates: list[Candidate], observations: list[Observation], foresight: Foresight, rng: np.random.Generator
    ) -> list[dict[str, float]]:
        """What is foreseen for each candidate: its value, the spread about it, its gain in hypervolume, and that in a draw."""
        known_costs = [self._costs(candidate) for candidate in candidates]
        features = point_features(self._domain, [self._domain.active(c.params) for c in candidates], known_costs)
        costs = np.array(known_costs, dtype=float)
        guesses, points = foresight.guesses(features), believed_points(observations, foresight)
        columns = {"predicted": guesses.mean(axis=1), "spread": guesses.std(axis=1)}
        reach = reached_costs(observations)
        columns["expected_gain"] = expected_gain(costs, guesses, points, reach=reach)
        if len(observations) % DRAWN_EVERY == 0:
            columns["drawn_gain"] = expected_gain(costs, foresight.drawn(features, rng), points, reach=reach)
        return [dict(zip(columns, map(float, row), strict=True)) for row in zip(*columns.values(), strict=True)]


def start_of(search: Search) -> int:
    """How many points a search starts with, spread over the costs."""
    share = search.proxy.rungs[0] / search.proxy.epochs if search.proxy.rungs else 1.0
    return start_at(share, trials=search.trials)


def start_at(share: float, *, trials: int) -> int:
    """How many points a search of so many `trials` starts with if its first rung costs a `share` of a training: the cheaper the
    rung the more, since what it shows of points all over the space is foreseen of all others."""
    return max(START, min(round(WORTH / share), trials // 4))


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
