"""Final values foreseen from points and rungs: checked on values that are worked out from the point."""

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from nas.search.samplers.foresight import GUESSES, Foresight, Levels, foresight_of, lag
from nas.search.samplers.history import History, Observation


def known(number, x, *, value=None, pending=False, early=()):
    features = np.array([x, 2.0 * x], dtype=np.float32)
    return Observation(number, {"x": x}, (("x",), (x,)), (1.0 + x,), value, pending, early, features)


AXES = np.array([0, 1])  # of the features
FINISHED = [known(i, float(i), value=float(i), early=[(i / 2, -i)]) for i in range(10)]


def test_what_is_like_a_good_point_is_foreseen_to_be_good():
    low, high = (
        Foresight(FINISHED, axes=AXES, trends=1, seed=0).guesses(np.array([[1, 2], [8, 16]], dtype=np.float32)).mean(axis=1)
    )
    assert low < 3 and high > 6


def test_what_a_rung_has_shown_outweighs_where_the_point_lies():
    foresight = Foresight(FINISHED, axes=AXES, trends=1, seed=0)
    point = np.array([[5, 10], [5, 10]], dtype=np.float32)
    poor, good = foresight.guesses(point, [[(0.5, -1)], [(4.5, -9)]]).mean(axis=1)
    assert good > poor + 1


def test_what_failed_counts_as_bad():
    failed = [known(20 + i, 8.5 + i / 100) for i in range(6)]
    foresight, before = (
        Foresight([*FINISHED, *failed], axes=AXES, trends=1, seed=0),
        Foresight(FINISHED, axes=AXES, trends=1, seed=0),
    )
    point = np.array([[8.6, 17.2]], dtype=np.float32)
    assert foresight.guesses(point).mean() < before.guesses(point).mean()


def test_the_same_seed_foresees_the_same():
    point = np.array([[3.3, 6.6]], dtype=np.float32)
    assert np.array_equal(
        Foresight(FINISHED, axes=AXES, trends=1, seed=1).guesses(point),
        Foresight(FINISHED, axes=AXES, trends=1, seed=1).guesses(point),
    )


def test_levels_keep_the_order_and_press_together_what_lies_far_below_the_best():
    values = np.array([0.0, 60.0, 70.0, 80.0, 90.0])
    levels = Levels(values)
    assert levels.of(values) == pytest.approx([-np.log(5.5), -np.log(2.5), -np.log(2), -np.log(1.5), 0])  # the usual gap is 20
    assert levels.values(levels.of(values)) == pytest.approx(values)


def test_levels_of_equal_values_are_equal():
    assert Levels(np.full(3, 7.0)).values(Levels(np.full(3, 7.0)).of(np.full(3, 7.0))) == pytest.approx(np.full(3, 7.0))


def test_guesses_lie_on_both_sides_and_farther_apart_where_less_is_known():
    near, far = Foresight(FINISHED, axes=AXES, trends=1, seed=0).guesses(np.array([[4, 8], [40, 80]], dtype=np.float32))
    assert near.shape == (GUESSES,) and near.min() < near.mean() < near.max()
    assert np.ptp(far) > 1.5 * np.ptp(near)


def test_a_draw_follows_what_was_measured_and_differs_from_the_next_elsewhere():
    uneven = [point._replace(value=point.number % 3, early=()) for point in FINISHED]
    foresight, rng = Foresight(uneven, axes=AXES, trends=1, seed=0), np.random.default_rng(0)
    points = np.array([[4, 8], [40, 80]], dtype=np.float32)
    draws = np.hstack([foresight.drawn(points, rng) for _ in range(20)])
    assert draws[0] == pytest.approx(np.full(20, 1.0), abs=1)
    assert np.ptp(draws[1]) > 1.5 * np.ptp(draws[0])


def test_it_is_not_curious_again_about_the_neighbours_of_what_was_stopped():
    stopped = [known(30 + i, 20.0 + i / 10, early=[(9.0, -20)]) for i in range(8)]
    features = np.array([[20.35, 40.7]], dtype=np.float32)
    spread = [
        np.ptp(Foresight(trials, axes=AXES, trends=1, seed=0).guesses(features)) for trials in (FINISHED, [*FINISHED, *stopped])
    ]
    assert spread[1] < 0.7 * spread[0]


def with_running(results, running):
    """So many finished trainings and others that run."""
    ended = [known(i, i / 10, value=i / 10) for i in range(results)]
    return [*ended, *(known(results + i, 50.0 + i, pending=True) for i in range(running))]


@pytest.mark.parametrize(
    "results, running, lagging", [(1000, 1, 0), (63, 16, 0), (130, 16, 2), (1000, 16, 8), (1000, 64, 15), (128, 2, 1)]
)
def test_a_prediction_may_lag_behind_by_a_64th_of_the_results_and_half_of_what_runs(results, running, lagging):
    assert lag(with_running(results, running)) == lagging


def test_a_prediction_serves_until_too_many_more_results_are_there_and_no_earlier_than_it_was_made():
    history = History({"x": FloatDistribution(0, 200)}, lambda params: params["x"])
    first = foresight_of(with_running(130, 16), history, seed=0)
    assert foresight_of(with_running(132, 16), history, seed=0) is first
    later = foresight_of(with_running(133, 16), history, seed=0)
    assert later is not first
    assert foresight_of(with_running(132, 16), history, seed=0) is not later
    alone = foresight_of(with_running(140, 1), history, seed=0)
    assert foresight_of(with_running(141, 1), history, seed=0) is not alone
