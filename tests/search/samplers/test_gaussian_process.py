"""A Gaussian process on numbers whose course is known, and beside scikit-learn's."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Matern, WhiteKernel

from nas.search.samplers import gaussian_process
from nas.search.samplers.gaussian_process import LEARNT, GaussianProcess, _likelihood, _noisy_root, _pull

X = np.linspace(0, 1, 12)[:, None]
RNG = np.random.default_rng(0)


def learnt(features, values, **settings):
    features = np.asarray(features)
    axes = np.arange(features.shape[1])
    return GaussianProcess(features, np.asarray(values, float), axes=axes, rng=np.random.default_rng(0), **settings)


def test_on_one_axis_it_foresees_what_scikit_learn_does_with_the_same_kernel():
    wanted = np.sin(6 * X)
    process = learnt(X, wanted)
    kernel = Matern(1 / process._rates[0], "fixed", nu=0.5) + WhiteKernel(process._noise, "fixed")
    peer = GaussianProcessRegressor(kernel, normalize_y=True, optimizer=None).fit(X, wanted[:, 0])
    asked = np.array([[0.03], [0.5], [0.97], [1.4]])
    mean, _ = process.predict(asked)
    assert mean[:, 0] == pytest.approx(peer.predict(asked), abs=1e-6)


def test_an_axis_that_changes_nothing_is_given_a_greater_length_than_one_that_does():
    points = RNG.random((60, 2))
    process = learnt(points, np.sin(9 * points[:, :1]))
    assert process._rates[0] > 2 * process._rates[1]


def test_a_step_of_the_descent_that_goes_much_too_far_is_seen_as_bad_and_overflows_nowhere(monkeypatch):
    seen = []

    def far(loss, start, **_):
        seen.append([loss(start + 800)[0], loss(start)[0]])
        return SimpleNamespace(x=start)

    monkeypatch.setattr(gaussian_process, "minimize", far)
    with warnings.catch_warnings(action="error"):
        points = np.random.default_rng(0).integers(0, 3, (30, 2)).astype(float)
        GaussianProcess(points, points[:, :1], axes=np.array([0, 1]), rng=np.random.default_rng(0))
    assert np.isfinite(seen).all() and seen[0][0] > seen[0][1]


def test_columns_of_one_axis_share_its_length():
    points = RNG.random((40, 3))
    process = GaussianProcess(points, points[:, :1], axes=np.array([0, 0, 1]), rng=np.random.default_rng(0))
    assert process._rates[0] == process._rates[1] != process._rates[2]


def test_the_pull_on_a_kernel_is_the_derivative_of_the_likelihood():
    points, wanted = RNG.random((12, 2)), RNG.standard_normal((12, 2))
    kernel, way = np.exp(-cdist(points, points)), RNG.standard_normal((12, 12))
    way, step = way + way.T, 1e-6
    up, down = (_likelihood(_noisy_root(kernel + s * way, 0.1), wanted) for s in (step, -step))
    assert (_pull(_noisy_root(kernel.copy(), 0.1), wanted) * way).sum() == pytest.approx((up - down) / (2 * step), rel=1e-4)


def test_it_is_surer_near_what_was_measured():
    _, deviation = learnt(X, np.sin(6 * X)).predict(np.array([[0.09], [3.0]]))
    assert deviation[0, 0] < 0.5 * deviation[1, 0]


def test_noise_is_told_from_a_course():
    course = learnt(np.repeat(X, 4, axis=0), np.repeat(np.sin(6 * X), 4, axis=0))
    noise = learnt(np.repeat(X, 4, axis=0), RNG.standard_normal((48, 1)))
    assert noise._noise > course._noise


def test_a_trend_goes_on_where_nothing_was_measured():
    bent, straight = (learnt(X, 10 * X, trends=n).predict(np.array([[2.0]]))[0][0, 0] for n in (0, 1))
    assert straight == pytest.approx(20, abs=3)
    assert bent < 12


def test_several_outputs_are_foreseen_at_once():
    mean, deviation = learnt(X, np.column_stack([X, -100 * X])).predict(X[5:6])
    assert mean[0] == pytest.approx([X[5, 0], -100 * X[5, 0]], rel=0.1)
    assert deviation[0, 1] == pytest.approx(100 * deviation[0, 0], rel=1e-6)


def test_of_many_points_it_keeps_as_many_as_it_can_learn_from_and_the_last_among_them():
    many = np.linspace(0, 1, 3 * LEARNT)[:, None]
    process = learnt(many, many)
    assert len(process._points) == LEARNT
    assert set(many[-LEARNT // 2 :, 0]) <= set(process._points[:, 0] * process._span[0] + process._low[0])


def test_equal_values_are_foreseen_as_they_are():
    mean, _ = learnt([[0.0], [0.0], [1.0]], [[3.0], [3.0], [3.0]]).predict(np.array([[0.5]]))
    assert mean[0, 0] == pytest.approx(3.0)


def test_believing_what_it_foresees_makes_it_surer_there_and_changes_no_mean():
    before, where = learnt(X, np.sin(6 * X)), np.array([[1.5], [3.0]])
    after = before.believing(where, np.random.default_rng(0))
    (mean, unsure), (same, sure) = before.predict(where), after.predict(where)
    assert same == pytest.approx(mean)
    assert (sure < 0.5 * unsure).all()
    assert before.predict(where)[1] == pytest.approx(unsure)


def test_believing_nothing_changes_nothing():
    process = learnt(X, np.sin(6 * X))
    mean, deviation = process.believing(np.empty((0, 1)), np.random.default_rng(0)).predict(X + 0.01)
    assert mean == pytest.approx(process.predict(X + 0.01)[0])
    assert deviation == pytest.approx(process.predict(X + 0.01)[1])
