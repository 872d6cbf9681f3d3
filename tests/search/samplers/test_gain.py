import numpy as np
import pytest

from nas.search.samplers.gain import expected_gain


def gain(costs, guesses, known):
    reach = np.array(known, float)[:, :-1].max(axis=0)
    return expected_gain(np.array(costs, float), np.array(guesses, float), np.array(known, float), reach=reach)


def test_a_point_gains_the_area_between_it_and_the_front_behind_it():
    known = [(0, 0), (1, 1)]
    assert gain([[0.5]], [[1.0]], known) == pytest.approx([0.5], abs=1e-6)  # from cost 0.5 to 1, all of the range high
    assert gain([[0.5]], [[0.0]], known) == pytest.approx([0.0], abs=1e-6)


def test_guesses_are_averaged():
    assert gain([[0.5]], [[1.0, 0.0]], [(0, 0), (1, 1)]) == pytest.approx([0.25], abs=1e-6)


def test_with_two_costs_it_gains_a_volume():
    known = [(0, 0, 0), (1, 1, 1)]
    assert gain([[0.5, 0.5]], [[1.0]], known) == pytest.approx([0.6**2 - 0.1**2], abs=1e-6)


def test_a_front_of_many_steps_along_two_costs_is_thinned_and_still_counts():
    steps = [(i, 99 - i, 1.0 + i % 2) for i in range(100)]
    assert 0 < gain([[50, 49]], [[3.0]], steps)[0] < 2
