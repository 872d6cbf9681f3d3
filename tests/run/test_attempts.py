"""What attempts at a trial are worth: counted by cause, and what they cost for nothing."""

import pytest

from nas.run.attempts import DRIVER_GONE, attempts, begun, ended, ledger, num_lost
from nas.run.record import Record
from nas.run.settings import Resources


def record(state="complete", *, seconds=0.0, repeated=0.0, tries=(), curve=()) -> Record:
    facts = {"repeated": repeated, "attempts": list(tries)}
    return Record(number=0, state=state, seconds=seconds, facts=facts, curve=tuple(curve))


def test_an_attempt_keeps_its_host_and_what_ended_it():
    first = record(tries=begun(record(), host="node1", resources=Resources(gpu=0.5)))
    lost = record(tries=ended(first, cause="node lost"))
    (only,) = attempts(lost)
    assert (only["host"], only["cause"], only["gpu"]) == ("node1", "node lost", 0.5)


def test_a_worker_that_died_before_it_began_counts_too():
    once = record(tries=ended(record(), cause="node lost"))
    assert num_lost(record(tries=ended(once, cause="node lost"))) == 2


def test_a_killed_driver_is_no_fault_of_the_trial():
    tries = [{"host": "a", "cause": DRIVER_GONE}, {"host": "a", "cause": "out of memory"}, {"host": "b"}]
    assert num_lost(record(tries=tries)) == 1


def test_the_ledger_adds_up_by_hand():
    rows = [
        record(seconds=100.0, repeated=20.0, tries=[{"gpu": 0.5}]),
        record("failed", seconds=30.0),
        record("running", curve=[{"seconds": 4.0}, {"seconds": 6.0}], tries=[{"gpu": 0.5}]),
        record("answered", seconds=100.0),
    ]
    spent = ledger(rows)
    assert (spent.seconds, spent.failed_seconds, spent.repeated_seconds) == (160.0, 30.0, 20.0)
    assert spent.gpu_seconds == 0.5 * (120.0 + 10.0)
    assert spent.wasted_share == pytest.approx(50 / 160)


def test_a_search_without_a_trial_has_wasted_nothing():
    assert ledger([]).wasted_share == 0.0
