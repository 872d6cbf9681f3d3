"""Whose weights are kept: the front, and what the noise of the images may yet put on it."""

from nas.run.front import front_records, near_front
from nas.run.record import Record, TrialState
from nas.space.costs import Cost


def record(number, accuracy, macs, state=TrialState.COMPLETE):
    return Record(number, accuracy=accuracy, cost=Cost(macs=macs), state=state)


def numbers(records):
    return [r.number for r in records]


def test_what_is_worse_by_less_than_the_noise_is_kept_beside_the_front(tiny):
    records = [record(0, 0.90, 10), record(1, 0.89, 20), record(2, 0.70, 20), record(3, 0.95, 30), record(4, 0.5, 5)]
    records.append(record(5, None, 9, TrialState.STOPPED))
    assert numbers(front_records(records, tiny())) == [4, 0, 3]
    assert numbers(near_front(records, tiny(), images=100)) == [0, 1, 3, 4]
    assert numbers(near_front(records, tiny(), images=10**6)) == [0, 3, 4]


def test_what_breaks_a_limit_is_never_kept(tiny):
    assert near_front([record(0, 0.9, 10**15)], tiny(), images=100) == []
