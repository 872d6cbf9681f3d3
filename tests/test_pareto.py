import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from nas.pareto import hypervolume_of, pareto

VALUES = st.integers(0, 6).map(float)
ANY = VALUES | st.sampled_from([np.nan, np.inf, -np.inf])
POINTS_OF_ANY = st.integers(2, 3).flatmap(lambda m: st.lists(st.tuples(*[ANY] * m), min_size=1, max_size=25))
POINTS = st.integers(2, 3).flatmap(lambda m: st.lists(st.tuples(*[VALUES] * m), min_size=1, max_size=25))


def test_a_dominated_point_is_not_on_the_front():
    assert pareto([(1, 2), (2, 1), (2, 2)]) == [0, 1]


def test_equal_points_stand_together():
    assert pareto([(1, 1), (0, 2), (1, 1), (3, 3)]) == [0, 1, 2]


def test_no_points_have_no_front_and_no_volume():
    assert pareto([]) == []
    assert hypervolume_of([], (1, 1)) == 0


def test_the_volume_is_the_dominated_area():
    assert hypervolume_of([(1, 2), (2, 1)], (3, 3)) == 3  # 2 * 1 and 1 * 2, one square in common
    assert hypervolume_of([(3, 0), (0, 4)], (3, 3)) == 0  # on or beyond the reference
    assert hypervolume_of([(0, 0, 0)], (1, 2, 3)) == 6


@given(POINTS_OF_ANY)
def test_the_front_is_what_nothing_dominates(points):
    def dominates(a, b):
        return all(x <= y for x, y in zip(a, b, strict=True)) and a != b

    assert pareto(points) == [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)]


@given(POINTS)
def test_the_volume_equals_optunas(points):
    reference = [6.5] * len(points[0])
    assert hypervolume_of(points, reference) == pytest.approx(compute_hypervolume(np.array(points), np.array(reference)))
