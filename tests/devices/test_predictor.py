"""The prediction of times, of devices whose weights are known."""

import numpy as np
import pytest

from nas.devices.predictor import Columns, Hyper, fitted, weights

LEVELS = np.array([1, 1, 2, 2])
QUANTITIES = ("networks", "calls", "calls", "calls")


def columns(number, seed=0):
    """Networks of two kinds of operators: one each, all calls, and the calls of either kind."""
    kinds = np.random.default_rng(seed).integers(1, 9, (number, 2)).astype(float)
    return Columns(np.column_stack([np.ones(number), kinds.sum(axis=1), kinds]), LEVELS, QUANTITIES)


def test_times_that_are_a_sum_are_foretold_of_other_networks():
    measured, others = columns(30), columns(50, seed=1)
    times = lambda c: c.amounts @ np.array([1.0, 0.0, 0.5, 3.0])  # noqa: E731
    _, fit = fitted(measured, times(measured))
    assert fit.ms(others.amounts) == pytest.approx(times(others), rel=0.01)


def test_a_few_measurements_of_a_device_that_follows_all_calls_give_the_kinds_hardly_a_weight_of_their_own():
    measured, others = columns(6), columns(50, seed=1)
    truth = lambda c: 2.0 + 0.7 * c.amounts[:, 1]  # noqa: E731
    noisy = truth(measured) * np.exp(0.05 * np.random.default_rng(0).standard_normal(6))
    _, fit = fitted(measured, noisy)
    assert np.median(np.abs(fit.ms(others.amounts) / truth(others) - 1)) < 0.06


def test_it_is_surer_of_what_was_measured_and_of_a_kind_that_it_saw():
    measured = columns(20)
    seen_one_kind = measured._replace(amounts=measured.amounts * np.array([1, 1, 1, 0]))
    hyper = Hyper({1: 0.5, 2: 0.2}, 0.01**2)
    fit = weights(seen_one_kind, np.full(20, 5.0), hyper)
    same, strange = np.array([[1.0, 8, 8, 0]]), np.array([[1.0, 8, 0, 8]])
    assert fit.spread(strange)[0] > 3 * fit.spread(same)[0]


def test_intervals_hold_as_many_times_as_they_say():
    measured, others = columns(60), columns(400, seed=1)
    error = np.random.default_rng(3)
    times = lambda c: (c.amounts @ np.array([1.0, 0.2, 0.5, 3.0])) * np.exp(0.05 * error.standard_normal(len(c.amounts)))  # noqa: E731
    _, fit = fitted(measured, times(measured))
    inside = np.abs(times(others) - fit.ms(others.amounts)) < 1.645 * fit.spread(others.amounts)
    assert 0.83 < inside.mean() < 0.96


def test_units_make_no_difference():
    measured, scale = columns(15), np.array([1, 1e6, 1e6, 1e6])
    times = measured.amounts @ np.array([1.0, 0.0, 0.5, 3.0])
    _, plain = fitted(measured, times)
    _, scaled = fitted(measured._replace(amounts=measured.amounts * scale), 1000 * times)
    assert scaled.ms(measured.amounts * scale) == pytest.approx(1000 * plain.ms(measured.amounts), rel=1e-6)
