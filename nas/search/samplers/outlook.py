"""What more trainings of a search are expected to gain, by the prediction that its sampler makes proposals with.

Of candidates as the sampler draws them those with the largest expected hypervolume improvement are taken, as many as trainings
are asked about; draws of the posterior say what all of them together would add to the front. How near that comes to what
searches gained: experiments/searchers.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from nas.run.attempts import time_spent
from nas.run.record import TRAINED, Record
from nas.run.settings.search import Search
from nas.run.settings.sections import StopRule
from nas.search.samplers.foresight import foresight_of
from nas.search.samplers.front import FrontSampler, believed_points, reached_costs
from nas.search.samplers.gain import raised_volumes
from nas.search.samplers.gaussian_process import one_thread
from nas.search.samplers.history import History, Observation
from nas.search.samplers.knowledge import observations_of

POSTERIOR_DRAWS = 16  # of the posterior
FEWEST_WHOLE_TRAININGS = 8  # below which nothing is foretold
AHEAD_TRAININGS = 20  # that are asked about where no rule says how many


def expected_raise(observations: list[Observation], history: History, *, trainings: int, seed: int) -> float | None:
    """The share by which so many more trainings are expected to raise the hypervolume within the front's own range.

    None where too few have finished.
    """
    if sum(point.value is not None for point in observations) < FEWEST_WHOLE_TRAININGS:
        return None
    rng = np.random.default_rng([seed, len(observations), trainings])
    with one_thread():
        foresight = foresight_of(observations, history, seed=seed)
        best, features = FrontSampler(history, seed=seed).most_promising(observations, foresight, rng, number=trainings)
        points, reach = believed_points(observations, foresight), reached_costs(observations)
        if not len(best):
            return 0.0
        drawn = [np.column_stack([best, foresight.drawn(features, rng)]) for _ in range(POSTERIOR_DRAWS)]
    before, after = raised_volumes(points, drawn, reach=reach)
    return float(np.mean(after)) / before - 1


def recent_raise(observations: list[Observation], *, trainings: int) -> float | None:
    """The share by which the last so many finished trainings have raised it; None where there are not twice as many."""
    finished = np.array([(*point.costs, point.value) for point in observations if point.value is not None])
    if len(finished) < trainings + FEWEST_WHOLE_TRAININGS:
        return None
    before, (after,) = raised_volumes(finished[:-trainings], [finished[-trainings:]], reach=reached_costs(observations))
    return after / before - 1


class Outlook(NamedTuple):
    """What further trainings of a search are worth."""

    trainings: int
    raised: float
    """The share by which they are expected to raise the hypervolume within the front's own range."""
    seconds: float
    """What they would take, rungs and failures as before."""
    foretold: float | None
    """What was expected as many trainings ago, None where it is too early to say."""
    gained: float | None
    """What they did gain."""


def outlook_of(records: Sequence[Record], search: Search, history: History) -> Outlook | None:
    """What another AHEAD_TRAININGS are expected to gain and to take; None where too few have finished to say."""
    trainings = AHEAD_TRAININGS
    expected = partial(expected_raise, history=history, trainings=trainings, seed=search.proposal_seed)
    observations = observations_of(records, search, history)
    raised = expected(observations)
    num_begun = sum(r.state in TRAINED and not r.baseline for r in records)
    if raised is None or not num_begun:
        return None
    finished = [point.number for point in observations if point.value is not None]
    earlier = [p for p in observations if len(finished) > trainings and p.number < finished[-trainings]]
    seconds = time_spent(records).seconds / num_begun * trainings
    return Outlook(trainings, raised, seconds, expected(earlier), recent_raise(observations, trainings=trainings))


def is_flat(records: Sequence[Record], search: Search, history: History) -> bool:
    """Whether the search's stop rule ends it, as the record stood when it was last looked at: `look_at` says when that is.

    What runs and what has ended since has no say, so that the answer follows from the record alone.
    """
    rule = search.search.stop
    if rule is None:
        return False
    finished = sorted((r for r in records if r.is_whole), key=lambda r: (r.ended_at is None, r.ended_at, r.number))
    late = {record.number for record in finished[look_at(len(finished), rule) :]}
    points = observations_of([r for r in records if r.number not in late], search, history)
    return flatness([point for point in points if not point.pending], history, rule, seed=search.proposal_seed)


def look_at(finished: int, rule: StopRule) -> int:
    """After how many finished trainings a rule last looked: twice within its number, since who looks all the time sees a flat
    stretch in every search."""
    step = max(1, rule.within // 2)
    return finished // step * step


def flatness(observations: list[Observation], history: History, rule: StopRule, *, seed: int) -> bool:
    """Whether what the last trainings raised the hypervolume by, and the next ones should, are together too little."""
    recent = recent_raise(observations, trainings=rule.within)
    if recent is None or recent >= rule.gain:
        return False
    raised = expected_raise(observations, history, trainings=rule.within, seed=seed)
    return raised is not None and recent + raised < rule.gain
