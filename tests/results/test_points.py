"""Fronts, volumes, knees and what beats what, on tables; expected values by hand or from Optuna."""

import numpy as np
import pandas as pd
import pytest
from optuna._hypervolume import compute_hypervolume
from optuna.study._multi_objective import _is_pareto_front

from nas.errors import NasError
from nas.pareto import hypervolume_of as volume_of
from nas.pareto import pareto
from nas.results.front import dominated_by, front, hypervolume, knee, save
from nas.results.noise import Right, highest
from nas.results.standing import standing


def trials(*rows, **columns) -> pd.DataFrame:
    """`(accuracy, macs)` as complete trials."""
    accuracy, macs = zip(*rows, strict=True)
    return pd.DataFrame({"trial": range(len(rows)), "state": "complete", "accuracy": accuracy, "macs": macs, **columns})


def test_the_front_is_what_nothing_beats_cheapest_first_and_equals_stand_together():
    assert list(front(trials((0.9, 3), (0.5, 1), (0.5, 2), (0.5, 1), (0.9, 4))).trial) == [1, 3, 0]


def test_a_stopped_trial_and_one_outside_the_constraints_are_on_no_front():
    table = trials((0.9, 1), (0.8, 1), (0.7, 1), within_limits=[False, True, True])
    table.loc[1, "state"] = "stopped"
    assert list(front(table).trial) == [2]


def test_any_two_or_three_objectives_will_do():
    table = trials((0.9, 3), (0.8, 3), (0.7, 3), params=[5, 5, 1])
    assert list(front(table, x="params").trial) == [2, 0]
    assert list(front(table, "params", "macs").trial) == [2]
    assert list(front(table, "macs", "accuracy", "params").trial) == [0, 2]


def test_the_front_and_the_volume_equal_optunas_on_1000_random_point_sets_with_ties_and_duplicates():
    rng = np.random.default_rng(0)
    for number in range(1000):
        points = rng.integers(0, 6, (rng.integers(1, 25), 2 + number % 2)) / 6
        assert set(pareto(points)) == set(np.flatnonzero(_is_pareto_front(points, assume_unique_lexsorted=False)))
        assert volume_of(points, np.ones(points.shape[1])) == pytest.approx(
            compute_hypervolume(points, np.ones(points.shape[1]))
        )


def test_so_do_those_of_tables():
    rng = np.random.default_rng(1)
    for number in range(60):
        size, costs = rng.integers(1, 25), ["macs", "params"][: 1 + number % 2]
        table = trials(*[(0.5, 1)] * size).assign(accuracy=rng.integers(0, 6, size) / 6)
        for name in costs:
            table[name] = rng.integers(1, 6, size)
        points = np.column_stack([1 - table.accuracy, *(table[c] / 6 for c in costs)])
        names = (costs[0], "accuracy", *costs[1:])
        assert set(front(table, *names).trial) == set(np.flatnonzero(_is_pareto_front(points, assume_unique_lexsorted=False)))
        expected = compute_hypervolume(points, np.ones(points.shape[1]))
        assert hypervolume(table, *names, reference=dict.fromkeys(costs, 6)) == pytest.approx(expected)


def test_the_knee_is_the_point_farthest_above_the_line_between_the_ends():
    assert knee(trials((0.1, 0), (0.8, 2), (0.9, 10))) == 1
    assert knee(trials((0.1, 0), (0.5, 5), (0.9, 10))) is None  # all on the line
    assert knee(trials((0.1, 0), (0.9, 10))) is None


def test_what_dominates_a_trial_is_named():
    assert list(dominated_by(trials((0.9, 2), (0.8, 3), (0.9, 2)))) == [(), ("0", "2"), ()]


def test_an_objective_that_nobody_recorded_is_refused_with_the_way_out():
    with pytest.raises(NasError, match=r"latency_ms: an objective must be .* no trial has one\. Measure .*nas latency"):
        front(trials((0.9, 1)), x="latency_ms")
    with pytest.raises(NasError, match=r"prams: .* Choose one of macs"):
        front(trials((0.9, 1)), x="prams")
    with pytest.raises(NasError, match="objectives must differ"):
        front(trials((0.9, 1)), x="accuracy")


def test_a_table_is_saved_as_its_ending_says(tmp_path):
    table = trials((0.9, 1))
    for name, read in (("a.csv", pd.read_csv), ("a.parquet", pd.read_parquet)):
        save(table.assign(right=[Right(1, ("gA==",))]), tmp_path / name)
        pd.testing.assert_frame_equal(read(tmp_path / name), table, check_dtype=False)
    with pytest.raises(NasError, match=r"must end in \.parquet or \.csv, but ends in '\.xlsx'"):
        save(table, tmp_path / "a.xlsx")


def test_the_front_is_one_of_what_is_expected_and_not_of_what_was_measured():
    table = trials((0.80, 1), (0.95, 2), (0.90, 3))
    table = table.assign(
        within_limits=True, baseline=None, accuracy_low=np.nan, accuracy_high=np.nan, below=np.nan, above=np.nan
    )
    table["expected"] = [0.80, 0.85, 0.88]
    ranked = standing(table, ("macs",))
    assert list(ranked.best["macs"]) == [1, 2, 3] and list(front(table)["macs"]) == [1, 2]
    assert highest(table, ranked.best)[0]["macs"] == 3


def test_a_knee_of_three_objectives_lies_on_their_front():
    """Two networks of equal accuracy and MACs: only the one with fewer parameters is on the front."""
    table = trials((0.1, 0), (0.8, 2), (0.8, 2), (0.9, 10), params=[1, 9, 2, 3])
    table = table.assign(
        within_limits=True, baseline=None, accuracy_low=np.nan, accuracy_high=np.nan, below=np.nan, above=np.nan
    )
    table = table.assign(expected=table["accuracy"])
    assert standing(table, ("macs", "params")).knee == 2
