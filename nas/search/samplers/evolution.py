"""Elitist evolution by mutation for several objectives: the peer that predicts nothing, and is hard to beat in the long run."""

import numpy as np

from nas.pareto import pareto
from nas.search.samplers.base import Candidate, PointSampler
from nas.search.samplers.history import Known

ELITE = 20  # points that have children, and random points before the first child
MOST_CHANGES = 2
CHILDREN = 20  # looked at for one that is affordable and untried


class EvolutionSampler(PointSampler):
    """Mutants of the best points, front by front; arguments as for PointSampler. What is stopped or fails has no children."""

    def _ranked(self, known: list[Known], rng: np.random.Generator) -> list[Candidate]:
        finished = [k for k in known if k.value is not None]
        drawn = Candidate(self._domain.draw(rng), {"by": "random"})
        if len(known) < ELITE or not finished:
            return [drawn]
        parents = _elite(finished)
        children = [self._child(parents[rng.integers(len(parents))], rng) for _ in range(CHILDREN)]
        return [*(c for c in children if self._domain.costs(c.params) is not None), drawn]

    def _child(self, parent: Known, rng: np.random.Generator) -> Candidate:
        mutant = self._domain.axes.mutant(parent.params, rng, most=MOST_CHANGES)
        return Candidate(mutant, {"by": "mutant", "parents": [parent.number]})


def _elite(finished: list[Known]) -> list[Known]:
    """The front, then the front of what is left, until there are enough."""
    chosen: list[Known] = []
    while len(chosen) < ELITE and finished:
        front = set(pareto([(*k.costs, -k.value) for k in finished]))
        chosen += [k for i, k in enumerate(finished) if i in front]
        finished = [k for i, k in enumerate(finished) if i not in front]
    return chosen
