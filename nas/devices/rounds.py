"""Times of many networks in turns, as if the machine had always been equally fast; pure numbers, whatever is timed.

What slows a shared machine down for a while slows all networks alike. So each round runs every network once, in another order,
and the drift that they have in common, a running median over the turns, is taken out of each one's times.
"""

import random
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from nas.errors import NasError

Clock = Callable[[], float]
"""Runs a network once and says how many seconds that took."""

OnRound = Callable[[int, int], None]
"""Hears after each round how many there were, and how many networks go on."""

PASSES = 4  # timed in a turn, after one that is not, so that the weights are where they are in use
FEWEST_ROUNDS = 5
WINDOW = 21  # turns over which the drift that all have in common is estimated
SWEEPS = 6  # of drift and times by turns, which has settled by then
STEADY = 0.02  # half of a 95 % interval, relative: what has it is measured
TOO_NOISY = 0.10  # the same of the middle network when the time is up: nothing can be learnt from such times
TO_SIGMA = 1.4826  # from a median absolute deviation to the standard deviation of a normal distribution
MEDIAN_ERROR = 1.2533  # standard error of a median over that of a mean, of normal values


class Timed(NamedTuple):
    """One network's time in milliseconds, its 95 % interval, and in how many rounds it was measured."""

    ms: float
    low: float
    high: float
    rounds: int


class Budget(NamedTuple):
    """How long networks may be timed."""

    rounds: int = 40
    seconds: float = 300.0


def in_turns(clocks: Mapping[str, Clock], budget: Budget, *, on_round: OnRound | None = None) -> dict[str, Timed]:
    """Each network's time, measured until its interval is small or the budget is spent; NasError if that is noise only."""
    turns, open_names, until = _Turns(list(clocks)), list(clocks), time.monotonic() + budget.seconds
    order = random.Random(0)
    for done in range(1, budget.rounds + 1):
        order.shuffle(open_names)
        for name in open_names:
            turns.add(name, _burst(clocks[name]))
        if done >= FEWEST_ROUNDS:
            timed = turns.timed()
            open_names = [name for name in open_names if _half(timed[name]) > STEADY]
        if on_round is not None:
            on_round(done, len(open_names))
        if not open_names or (done >= FEWEST_ROUNDS and time.monotonic() > until):
            break
    timed = turns.timed()
    check_quiet(timed)
    return timed


def _burst(clock: Clock) -> float:
    """The fastest of some passes: what interrupts one only ever adds to its time."""
    clock()
    return min(clock() for _ in range(PASSES))


def _half(timed: Timed) -> float:
    return (timed.high - timed.low) / (2 * timed.ms)


def check_quiet(timed: Mapping[str, Timed]) -> None:
    """NasError where half of the networks have wider intervals than anything can be learnt from."""
    middle = float(np.median([_half(each) for each in timed.values()]))
    if middle > TOO_NOISY:
        raise NasError(
            f"this machine is too noisy to measure: after {max(t.rounds for t in timed.values())} rounds half of the "
            f"{len(timed)} networks are not more certain than ±{middle:.0%} (at most ±{TOO_NOISY:.0%} is wanted). Nothing was "
            "written. End what else runs on it, give fewer threads than it has cores, or allow more time."
        )


class _Turns:
    """Seconds in the order in which they were measured."""

    def __init__(self, names: list[str]):
        self._index = {name: i for i, name in enumerate(names)}
        self._which: list[int] = []
        self._logs: list[float] = []

    def add(self, name: str, seconds: float) -> None:
        """One turn of a network."""
        self._which.append(self._index[name])
        self._logs.append(float(np.log(max(seconds, 1e-9))))

    def timed(self) -> dict[str, Timed]:
        """What each network takes on the machine at its usual speed."""
        which, logs = np.array(self._which), np.array(self._logs)
        rows = [np.flatnonzero(which == i) for i in range(len(self._index))]
        own = logs - _drift(which, logs, rows)
        return {name: _timed(own[rows[i]]) for name, i in self._index.items()}


def _drift(which: np.ndarray, logs: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    """The logarithm of how much slower than usual the machine was at each turn: (turns,)."""
    drift = np.zeros(len(logs))
    for _ in range(SWEEPS):
        own = np.array([np.median((logs - drift)[r]) for r in rows])
        left = logs - own[which]
        padded = np.pad(left, WINDOW // 2, mode="reflect") if len(left) > WINDOW else left
        windows = np.lib.stride_tricks.sliding_window_view(padded, min(WINDOW, len(padded)))
        drift = np.median(windows, axis=-1) if len(left) > WINDOW else np.full(len(left), np.median(left))
    return drift - np.median(drift)


def _timed(logs: np.ndarray) -> Timed:
    middle = float(np.median(logs))
    spread = TO_SIGMA * float(np.median(np.abs(logs - middle)))
    half = 1.96 * MEDIAN_ERROR * spread / np.sqrt(len(logs))
    ms, low, high = (round(1000 * float(np.exp(log)), 5) for log in (middle, middle - half, middle + half))
    return Timed(ms, low, high, len(logs))
