"""How many proposals are made before a worker is free to train them, so that none waits for the sampler."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LAST = 16  # asks that say how much of the time asking takes
LEAST_SHARE = 0.05  # share of the time from which on a proposal is made ahead: it is made with less known than one made in time


class Ahead:
    """Says how many proposals to hold ready for so many `workers`, from how much of the time asking takes.

    None while that is little: what is asked ahead is asked before the trainings that run have shown anything. None for one
    worker either, whose search would not be repeatable. Else as many as would on average be waited for if trainings ended at
    random: in service and in line, of a queue with one server that takes the same time for each (M/D/1).
    """

    def __init__(self, workers: int, *, clock: Callable[[], float] = time.monotonic):
        self._workers, self._clock = workers, clock
        self._asks: deque[tuple[float, float]] = deque(maxlen=LAST)  # when, how long

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Around an ask that is made while trainings run."""
        began = self._clock()
        yield
        self._asks.append((began, self._clock() - began))

    @property
    def share(self) -> float:
        """Of the time since the first of the last asks, that which asking took; 0 before it is known."""
        if len(self._asks) < LAST:
            return 0.0
        return sum(took for _, took in self._asks) / max(self._clock() - self._asks[0][0], 1e-9)

    @property
    def number(self) -> int:
        """Proposals to hold ready."""
        share = min(self.share, 0.99)
        if self._workers < 2 or share < LEAST_SHARE:
            return 0
        return min(self._workers, math.ceil(share + share**2 / (2 * (1 - share))))
