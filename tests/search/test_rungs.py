"""Whose turn it is after a rung, from records alone, and which of those that wait should widen the front most."""

import numpy as np
import pytest

from nas.run.record import Record, TrialState
from nas.search.rungs import A_PROMOTION, FEWEST_WHOLE, due_rung, expected_epochs, likeliest_beaten, must_wait, ranked
from nas.search.samplers.history import History, Observation

START = 16  # of a search of forty trials


@pytest.fixture
def search(tiny):
    return tiny("search.trials=40", "proxy.epochs=6", "proxy.rungs=[1, 3]")


def waiting(number, *, passed=0):
    return [Record(i, state=TrialState.PAUSED, passed=passed) for i in range(number)]


def test_new_ones_have_the_turn_until_the_start_is_there(search):
    assert due_rung(waiting(START), search, is_last=False) is None
    assert due_rung(waiting(START + 1), search, is_last=False) == 0


def test_one_in_so_many_goes_on(search):
    on = Record(99, passed=1)
    assert due_rung([on, *waiting(START + A_PROMOTION - 1)], search, is_last=False) is None
    assert due_rung([on, *waiting(START + A_PROMOTION)], search, is_last=False) == 0


def test_what_waits_at_a_later_rung_goes_first(search):
    assert due_rung([*waiting(START + 9), *waiting(1, passed=1)], search, is_last=False) == 1


def test_a_small_search_ends_with_a_few_trained_in_full_however_few_reached_the_rung(search):
    on = [Record(i, state=TrialState.COMPLETE, passed=3) for i in range(FEWEST_WHOLE - 1)]
    assert due_rung([*on, *waiting(1)], search, is_last=True) == 0
    assert due_rung([*on, on[0], *waiting(1)], search, is_last=True) is None


def test_while_others_are_on_their_way_there_only_one_in_so_many_goes_on_in_the_end_too(search):
    running = Record(50)
    assert due_rung([running, *waiting(A_PROMOTION - 1)], search, is_last=True) is None
    assert due_rung([running, *waiting(A_PROMOTION)], search, is_last=True) == 0


def test_where_none_waits_it_is_the_turn_of_none(search):
    assert due_rung([Record(0, state=TrialState.STOPPED)] * 100, search, is_last=True) is None


def test_a_baseline_waits_nowhere_and_no_trial_twice(search):
    assert must_wait(Record(0), 1, search)
    assert not must_wait(Record(0), 2, search)
    assert not must_wait(Record(0, passed=1), 1, search)
    assert not must_wait(Record(0, baseline="poolformer_s12"), 1, search)


def test_where_every_trial_would_go_on_none_waits_and_loads_its_checkpoint_for_nothing(tiny):
    assert not must_wait(Record(0), 1, tiny(f"search.trials={FEWEST_WHOLE}"))
    assert must_wait(Record(0), 1, tiny(f"search.trials={FEWEST_WHOLE + 1}"))


def test_epochs_are_counted_by_how_many_go_on(search, tiny):
    assert expected_epochs(search) == 40 + 14 * 2 + 8 * 3
    small = tiny("search.trials=5", "baselines=[]", "proxy.epochs=3", "proxy.rungs=[1]")
    assert expected_epochs(small) == 5 * 3  # each goes on


class Axes(History):
    """As much of a history as is asked for."""

    axes_of_features = np.array([0, 1])
    num_trends = 1

    def __init__(self):
        self._kept = {}


def at_rung(number, *, cost, shown, value=None):
    features = np.array([number % 5, np.log(cost)], dtype=np.float32)
    return Observation(number, {}, ((), ()), (cost,), value, False, [(shown,)], features)


def order(points, numbers):
    return ranked(set(numbers), points, rung=0, history=Axes(), seed=0)


def test_while_hardly_anything_has_finished_what_a_rung_has_shown_counts():
    points = [at_rung(0, cost=10, shown=0.9), at_rung(1, cost=5, shown=0.5), at_rung(2, cost=20, shown=0.4)]
    assert order(points, [0, 1, 2])[0] == 0
    assert order(points, [1, 2]) == [1, 2]  # trial 0 is beyond both in accuracy, and dearer than 1 alone


def test_what_is_foreseen_to_be_dominated_comes_last():
    finished = [at_rung(i, cost=10.0 + i, shown=0.5 + i / 50, value=0.6 + i / 50) for i in range(12)]
    dominated, ahead = at_rung(20, cost=21.0, shown=0.2), at_rung(21, cost=15.0, shown=0.75)
    assert order([*finished, dominated, ahead], [20, 21]) == [21, 20]


def test_stopped_for_good_is_what_is_likeliest_beaten_not_what_gains_little():
    finished = [at_rung(i, cost=10.0 + i, shown=0.5 + i / 50, value=0.6 + i / 50) for i in range(12)]
    cheap, beaten = at_rung(20, cost=9.9, shown=0.4), at_rung(21, cost=21.0, shown=0.45)  # nothing is as cheap as the first
    points = [*finished, cheap, beaten, at_rung(22, cost=15.0, shown=0.9)]
    assert likeliest_beaten({20, 21, 22}, points, number=1, history=Axes(), seed=0) == [21]


def test_nothing_is_stopped_for_good_while_hardly_anything_has_finished_but_what_shows_no_number():
    silent = at_rung(3, cost=1.0, shown=0.0)._replace(early=[])
    points = [*(at_rung(i, cost=10.0 + i, shown=0.1) for i in range(3)), silent]
    assert likeliest_beaten({0, 1, 2, 3}, points, number=2, history=Axes(), seed=0) == [3]


def test_a_dear_one_can_lead_before_any_as_dear_has_finished():
    finished = [at_rung(i, cost=10.0 + i, shown=0.3 + i / 100, value=0.4 + i / 100) for i in range(6)]
    dear, near = at_rung(20, cost=100.0, shown=0.8), at_rung(21, cost=15.0, shown=0.35)
    assert order([*finished, dear, near], [20, 21]) == [20, 21]


def test_one_whose_rung_shows_no_number_comes_last():
    silent = at_rung(3, cost=1.0, shown=0.0)._replace(early=[])
    assert order([at_rung(0, cost=10, shown=0.9), silent], [0, 3]) == [0, 3]
