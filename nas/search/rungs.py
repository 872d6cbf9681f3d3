"""Who goes on after a rung: every trial waits there, and in turn with new ones that is trained on which should widen the front.

A trial that waits may be trained on as long as the search lasts, so that no judgement is final: what is foreseen of it changes
with every training that ends. The idea is that of promotion in successive halving (arXiv:1810.05934), with the expected
hypervolume improvement in place of a rank.
"""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nas.run.record import Record, TrialState
from nas.run.settings.search import Search
from nas.search.samplers.foresight import foresight_of
from nas.search.samplers.front import believed_points, reached_costs, start_of
from nas.search.samplers.gain import expected_gain
from nas.search.samplers.gaussian_process import one_thread
from nas.search.samplers.history import History, Observation

MOST_AT_A_RUNG = 96  # at one rung: beyond so many those are stopped for good that are likeliest to be beaten
A_PROMOTION = 3  # trials that reach a rung for each that goes on; experiments/searchers says how it was chosen
FEWEST_WHOLE = 8  # trials that go on before a search ends, if as many reached the rung
FEW_FINISHED = 4  # finished trainings below which what a rung has shown is all that there is to compare


def must_wait(record: Record, epoch: int, search: Search) -> bool:
    """Whether a trial has to wait after an epoch: at a rung, but no baseline, at no rung twice, and not where all go on."""
    is_small = search.trials <= FEWEST_WHOLE
    return epoch in search.proxy.rungs and not record.baseline and epoch > record.passed and not is_small


def due_rung(records: Sequence[Record], search: Search, *, is_last: bool) -> int | None:
    """The rung, counted from 0, from which a trial is to go on now; None while it is the turn of new ones.

    First of all come as many new ones as the search starts with. `is_last` says that no new ones come any more: then a few go
    on at least, once all are there.
    """
    searched = [record for record in records if not record.baseline]
    for rung, (before, epoch) in reversed(list(enumerate(pairwise([0, *search.proxy.rungs])))):
        at = Counter(record.state for record in searched if before <= record.passed < epoch)
        passed = sum(record.passed >= epoch for record in searched)
        reached, is_complete = passed + at[TrialState.PAUSED] + at[TrialState.STOPPED], is_last and not at[TrialState.RUNNING]
        first = 0 if rung else A_PROMOTION - 1 if is_last else start_of(search)
        wanted = math.ceil((reached - first) / A_PROMOTION)
        if at[TrialState.PAUSED] and passed < (max(wanted, min(reached, FEWEST_WHOLE)) if is_complete else wanted):
            return rung
    return None


def waits_at(record: Record, search: Search) -> int:
    """The rung, counted from 0, that has not let a trial go on."""
    return sum(rung <= record.passed for rung in search.proxy.rungs)


def expected_epochs(search: Search) -> int:
    """Epochs that the searched trials come to if as many of them go on from each rung as `due_rung` lets."""
    total, reached = 0, search.trials
    for begin, end in pairwise([0, *search.proxy.rungs, search.proxy.epochs]):
        total += reached * (end - begin)
        reached = num_promoted(reached)
    return total


def num_promoted(reached: int) -> int:
    """How many of those that reach a rung go on, by the end of a search."""
    return max(math.ceil(reached / A_PROMOTION), min(reached, FEWEST_WHOLE))


def ranked(waiting: set[int], observations: list[Observation], *, rung: int, history: History, seed: int) -> list[int]:
    """Those trials which wait at a rung, by how much their training should widen the front, most first."""
    paused = [point for point in observations if point.number in waiting and len(point.early) > rung]
    silent = waiting - {point.number for point in paused}  # what they showed is no number: such a training ends by itself
    gains = _gains(paused, observations, rung=rung, history=history, seed=seed) if paused else np.empty(0)
    return [*(paused[i].number for i in np.argsort(-gains, kind="stable")), *sorted(silent)]


def likeliest_beaten(
    waiting: set[int], observations: list[Observation], *, number: int, history: History, seed: int
) -> list[int]:
    """So many of the trials that wait, those first whose training is likeliest to be beaten by one that is in no cost dearer.

    None while hardly anything has finished.
    """
    paused = [point for point in observations if point.number in waiting and point.early]
    silent = sorted(waiting - {point.number for point in paused})
    if number <= len(silent) or sum(point.value is not None for point in observations) < FEW_FINISHED:
        return silent[:number]
    with one_thread():
        foresight = foresight_of(observations, history, seed=seed)
        guesses, points = foresight.of(paused), believed_points(observations, foresight)
    costs = np.array([point.costs for point in paused], dtype=float)
    no_dearer = (points[:, :-1] <= costs[:, None]).all(axis=2)  # (paused, points)
    best = np.where(no_dearer, points[:, -1], -np.inf).max(axis=1)
    chances = (guesses > best[:, None]).mean(axis=1)
    order = np.lexsort((guesses.mean(axis=1) - best, chances))
    return [*silent, *(paused[i].number for i in order)][:number]


def _gains(paused: list[Observation], observations: list[Observation], *, rung: int, history: History, seed: int) -> np.ndarray:
    """Expected gain in hypervolume of each paused trial, (paused,); while hardly anything has finished, of what it showed."""
    costs, reach = np.array([point.costs for point in paused], dtype=float), reached_costs(observations)
    if sum(point.value is not None for point in observations) >= FEW_FINISHED:
        with one_thread():
            foresight = foresight_of(observations, history, seed=seed)
            guesses, points = foresight.of(paused), believed_points(observations, foresight)
        return expected_gain(costs, guesses, points, reach=reach)
    shown = np.array([point.early[rung][:1] for point in paused])
    numbers = {point.number for point in paused}
    others = [point for point in observations if len(point.early) > rung and point.number not in numbers]
    if not others:
        return shown[:, 0]
    return expected_gain(costs, shown, np.array([(*k.costs, k.early[rung][0]) for k in others]), reach=reach)
