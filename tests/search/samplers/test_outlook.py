"""What more trainings should gain, and when a search is flat."""

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution

from nas.search.samplers.front import FrontSampler
from nas.search.samplers.gain import raised_volumes
from nas.search.samplers.history import History
from nas.search.samplers.outlook import FEWEST_WHOLE_TRAININGS, expected_raise, is_flat, outlook_of, recent_raise
from tests.studies import epoch, finish_all, finish_next

GRID = {f"x{i}": IntDistribution(0, 3) for i in range(5)}


def searched(number, *, noise=0.0, seed=0):
    """A search of a made-up problem, of which the whole front is easily found: its history and observations."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    history, rng = History(GRID, lambda params: 1.0 + sum(params.values())), np.random.default_rng(0)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=FrontSampler(history, seed=seed))
    for _ in range(number):
        trial = study.ask()
        params = {name: trial._suggest(name, axis) for name, axis in GRID.items()}
        study.tell(trial, [sum(params.values()) + noise * rng.standard_normal(), 1.0 + sum(params.values())])
    return history, history.observations(study.get_trials(deepcopy=False))


def test_a_volume_is_counted_in_the_range_of_the_front_before():
    observed = np.array([[0.0, 0.0], [1.0, 1.0]])  # cost, value: the nadir is (1, 0), the reference lies at 1.1
    before, (same, raised) = raised_volumes(observed, [np.array([[1.0, 0.5]]), np.array([[0.5, 1.0]])], reach=np.array([1.0]))
    assert before == pytest.approx(1.1 * 0.1 + 0.1 * 1.0)
    assert same == pytest.approx(before)
    assert raised == pytest.approx(before + 0.5 * 1.0)


def test_what_is_found_already_cannot_be_raised_much_more():
    early, late = searched(18), searched(50)
    expected = [expected_raise(points, history, trainings=20, seed=0) for history, points in (early, late)]
    assert expected[1] < 0.02
    assert expected[0] > expected[1] >= 0


def test_few_trainings_foretell_nothing():
    history, points = searched(FEWEST_WHOLE_TRAININGS)
    assert expected_raise(points[:-1], history, trainings=20, seed=0) is None
    assert expected_raise(points, history, trainings=20, seed=0) is not None
    assert recent_raise(points, trainings=1) is None


def test_the_same_observations_foretell_the_same():
    history, points = searched(30)
    assert expected_raise(points, history, trainings=20, seed=0) == expected_raise(
        points, searched(16)[0], trainings=20, seed=0
    )


def test_what_the_last_trainings_raised_is_counted_from_the_front_before_them():
    _, points = searched(30)
    best = max(points[:20], key=lambda point: point.value)
    better = best._replace(number=99, value=best.value + 5)
    assert recent_raise([*points[:20], *[best] * 9], trainings=9) == pytest.approx(0)
    assert recent_raise([*points[:20], *[best] * 8, better], trainings=9) > 0.01


@pytest.mark.thorough
def test_a_search_with_a_rule_ends_when_it_is_flat_and_one_without_goes_on(opened, tiny):
    study = opened(tiny("search.trials=60", "search.stop={gain: 40%, within: 4}"))
    finish_all(study)
    assert study.is_flat
    assert FEWEST_WHOLE_TRAININGS < study.num_started < 60
    assert not study.has_work
    again = opened(tiny("search.trials=60"))
    assert again.propose() is not None
    again = opened(tiny("search.trials=60", "search.stop={gain: 40%, within: 4}"))
    assert is_flat(again.records, again.search, again._history) == again.is_flat


@pytest.mark.thorough
def test_a_killed_search_stops_where_an_unkilled_one_does(opened, tiny):
    search = tiny("search.trials=60", "search.stop={gain: 40%, within: 4}")
    study = opened(search)
    while finish_next(study) is not None:
        study = opened(search)
    assert study.is_flat


def test_baselines_are_trained_though_the_search_is_flat(opened, tiny, monkeypatch):
    monkeypatch.setattr("nas.search.study.is_flat", lambda *args: True)
    study = opened(tiny("baselines=[poolformer_s12]", "search.stop.gain=1%"))
    assert finish_next(study) == 0
    assert study.propose() is None


@pytest.mark.thorough
def test_an_outlook_says_what_was_expected_before_and_what_came(opened, tiny):
    study = opened(tiny("search.trials=32"))
    assert outlook_of(study.records, study.search, study._history) is None
    finish_all(study)
    outlook = outlook_of(study.records, study.search, study._history)
    assert outlook.trainings == 20
    assert 0 <= outlook.raised < 5
    assert outlook.seconds == pytest.approx(20 * 2.0)  # the epoch of each took two seconds
    assert outlook.foretold is not None
    assert outlook.gained == pytest.approx(
        recent_raise(study._history.observations(study._study.get_trials(deepcopy=False)), trainings=20)
    )


def test_what_waits_at_a_rung_is_no_training_yet(opened, tiny):
    study = opened(tiny("search.trials=10"))
    for _ in range(10):
        study.report(study.propose().number, epoch(1))
    assert outlook_of(study.records, study.search, study._history) is None
