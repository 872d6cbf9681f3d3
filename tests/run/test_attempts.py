"""What attempts at a trial are worth: counted by cause, and what they cost for nothing."""

import pytest

from nas.run.attempts import DRIVER_GONE, lost_attempts, time_spent, with_attempt, with_cause
from nas.run.record import Attempt, Record
from nas.run.settings.sections import Resources
from tests.studies import epoch

HALF_A_CARD = Attempt("a", gpu=0.5)


def record(state="complete", *, seconds=0.0, repeated=0.0, attempts=(), curve=()) -> Record:
    epochs = tuple(e.model_dump(mode="json") for e in curve)
    return Record(number=0, state=state, seconds=seconds, repeated=repeated, attempts=tuple(attempts), curve_data=epochs)


def test_an_attempt_keeps_its_host_and_what_ended_it():
    first = record(attempts=with_attempt(record(), host="node1", resources=Resources(gpu=0.5)))
    (only,) = with_cause(first, cause="node lost")
    assert (only.host, only.cause, only.gpu) == ("node1", "node lost", 0.5)


def test_a_worker_that_died_before_it_began_counts_too():
    once = record(attempts=with_cause(record(), cause="node lost"))
    assert len(lost_attempts(record(attempts=with_cause(once, cause="node lost")))) == 2


def test_a_killed_driver_is_no_fault_of_the_trial():
    attempts = [Attempt("a", cause=DRIVER_GONE), Attempt("a", cause="out of memory"), Attempt("b")]
    assert len(lost_attempts(record(attempts=attempts))) == 1


def test_the_time_spent_adds_up_by_hand():
    rows = [
        record(seconds=100.0, repeated=20.0, attempts=[HALF_A_CARD]),
        record("failed", seconds=30.0),
        record("running", curve=[epoch(1, seconds=4.0), epoch(2, seconds=6.0)], attempts=[HALF_A_CARD]),
        record("answered", seconds=100.0),
    ]
    spent = time_spent(rows)
    assert (spent.seconds, spent.failed_seconds, spent.repeated_seconds) == (160.0, 30.0, 20.0)
    assert spent.gpu_seconds == 0.5 * (120.0 + 10.0)
    assert spent.wasted_share == pytest.approx(50 / 160)


def test_a_search_without_a_trial_has_wasted_nothing():
    assert time_spent([]).wasted_share == 0.0
