"""Who goes on after a rung: a pure rule over what the record holds, and how a study asks it."""

from collections.abc import Sequence

from optuna.trial import FrozenTrial

from nas.run.record import Record
from nas.run.settings import Search
from nas.search.samplers.foresight import foreseen
from nas.search.samplers.history import History

COST_SLACK = 1.3  # a rival may cost so much more and still count; experiments/searchers says how both were chosen
RATE = 0.5  # times a rung's share of the training: the share of rivals that may be ahead of who goes on


def is_promising(cost: float, accuracy: float, rivals: Sequence[tuple[float, float]], *, share: float) -> bool:
    """Whether a trial goes on, given the final accuracy foreseen for it and (cost, accuracy) of all others at that rung.

    It is judged within its band, beside those that cost no more than itself or little more, and goes on if none of them
    dominates it, or few: the cheap end has few such rivals and survives, where a comparison by accuracy alone would end it.
    `share` is what the rung costs of the training up to the next one: the cheaper it is to ask another, the stricter the rung.
    """
    band = [other for macs, other in rivals if macs <= COST_SLACK * cost]
    ahead = sum(other > accuracy for other in band)
    return ahead < RATE * share * (len(band) + 1)


def must_be_judged(record: Record, epoch: int, search: Search) -> bool:
    """Whether a trial has to pass a rung after an epoch: no baseline, and no rung twice."""
    return epoch in search.proxy.rungs and not record.baseline and epoch > record.passed


def passes(number: int, epoch: int, trials: list[FrozenTrial], *, search: Search, history: History) -> bool:
    """Whether a trial at a rung is foreseen to end well beside all others that reached it."""
    observations = {point.number: point for point in history.observations(trials)}
    rungs = (*search.proxy.rungs, search.proxy.epochs)
    rung = rungs.index(epoch)
    axes = history.axes_of_features
    expected = foreseen(list(observations.values()), axes=axes, rung=rung, seed=search.proposal_seed)
    if number not in expected:  # what it shows there is no number: its training will end by itself
        return True
    rivals = [(observations[n].costs[0], value) for n, value in expected.items() if n != number]
    return is_promising(observations[number].costs[0], expected[number], rivals, share=epoch / rungs[rung + 1])
