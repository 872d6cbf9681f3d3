"""Elitist evolution by mutation for several objectives: the peer that predicts nothing, and is hard to beat in the long run."""

import numpy as np

from nas.pareto import pareto
from nas.run.settings.search import Search
from nas.search.samplers.history import History, Observation
from nas.search.samplers.point_sampler import Candidate, PointSampler
from nas.search.samplers.registry import SamplerMaker

ELITE = 20  # points that have children, and random points before the first child
CHILD_CHANGES = 2
CHILDREN = 20  # looked at for one that is affordable and untried


def make_evolution(search: Search, history: History) -> SamplerMaker:
    """An EvolutionSampler of the search. It needs no question's seed: it draws by the search's and the number of points."""
    return lambda seed: EvolutionSampler(history, seed=search.proposal_seed)


class EvolutionSampler(PointSampler):
    """Mutants of the best points, front by front. What is stopped or fails has no children."""

    def ranked(self, observations: list[Observation], rng: np.random.Generator) -> list[Candidate]:
        """Children of the elite, in the order in which they were drawn."""
        finished = [point for point in observations if point.value is not None]
        drawn = Candidate(self._domain.draw(rng), {"by": "random"})
        if len(observations) < ELITE or not finished:
            return [drawn]
        parents = _elite(finished)
        children = [self._child(parents[rng.integers(len(parents))], rng) for _ in range(CHILDREN)]
        return [*(c for c in children if self._domain.costs(c.params) is not None), drawn]

    def _child(self, parent: Observation, rng: np.random.Generator) -> Candidate:
        mutant = self._domain.axes.mutant(parent.params, rng, most=CHILD_CHANGES)
        return Candidate(mutant, {"by": "mutant", "parents": [parent.number]})


def _elite(finished: list[Observation]) -> list[Observation]:
    """The front, then the front of what is left, until there are enough."""
    chosen: list[Observation] = []
    while len(chosen) < ELITE and finished:
        front = set(pareto([(*point.costs, -(point.value or 0.0)) for point in finished]))
        chosen += [point for i, point in enumerate(finished) if i in front]
        finished = [point for i, point in enumerate(finished) if i not in front]
    return chosen
