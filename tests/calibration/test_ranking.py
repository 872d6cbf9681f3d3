"""Correlations against scipy and by hand, over weights that stand for resamples; no seed is compared with itself."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from nas.calibration.ranking import (
    FAILED,
    RESAMPLES,
    agreement,
    estimate,
    kendall,
    pairs_of,
    resamples,
    seed_noise,
    spearman,
    truths,
    upper_half,
)


def table(**columns) -> pd.DataFrame:
    """Accuracies of architectures a, b, ... by seed: `seed0=[...]`."""
    return pd.DataFrame({int(name[4:]): values for name, values in columns.items()}, dtype=float)


@pytest.mark.parametrize("seed", range(8))
def test_kendall_and_spearman_equal_scipys_with_ties_and_on_written_out_resamples(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 6, 9).astype(float), rng.normal(size=9)
    weights = rng.multinomial(9, np.full(9, 1 / 9), size=5).astype(float)
    for ours, scipys in ((kendall, stats.kendalltau), (spearman, stats.spearmanr)):
        for row, value in zip(weights, ours(x, y, weights), strict=True):
            drawn = np.repeat(np.arange(9), row.astype(int))
            assert value == pytest.approx(scipys(x[drawn], y[drawn]).statistic, abs=1e-12)


def test_kendall_counts_pairs():
    ones = np.ones((1, 4))
    assert kendall(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 4, 3]), ones)[0] == pytest.approx((5 - 1) / 6)
    assert kendall(np.array([1.0, 1, 2, 3]), np.array([1.0, 2, 3, 4]), ones)[0] == pytest.approx(5 / np.sqrt(5 * 6))
    assert np.isnan(kendall(np.ones(4), np.arange(4.0), ones)[0])


def test_resamples_hold_the_sample_itself_and_then_draws_of_the_same_size_from_a_seed():
    weights = resamples(7)
    assert weights.shape == (1 + RESAMPLES, 7) and (weights[0] == 1).all() and (weights.sum(1) == 7).all()
    assert (resamples(7, seed=1) != weights).any() and (resamples(7) == weights).all()


def test_a_seed_is_compared_with_the_mean_of_the_references_other_seeds():
    reference = table(seed0=[0.1, 0.2], seed1=[0.3, 0.4], seed2=[0.5, 0.8])
    found = truths(reference, [0, 1])
    assert found[0] == pytest.approx([0.4, 0.6]) and found[1] == pytest.approx([0.3, 0.5])


def test_with_one_seed_only_it_is_compared_with_itself_and_a_truth_from_outside_serves_all():
    assert truths(table(seed5=[0.1, 0.2]), [5])[5] == pytest.approx([0.1, 0.2])
    pairs = pairs_of(table(seed0=[0.3, 0.4], seed1=[0.5, 0.6]), pd.Series([0.7, 0.8]))
    assert [list(y) for _, y in pairs] == [[0.7, 0.8]] * 2 and [list(x) for x, _ in pairs] == [[0.3, 0.4], [0.5, 0.6]]


def test_agreement_is_the_mean_over_seeds_of_what_is_kept():
    pairs = [
        (np.array([1.0, 2, 3, 4, 9]), np.array([1.0, 2, 3, 4, 0])),
        (np.array([4.0, 3, 2, 1, 9]), np.array([1.0, 2, 3, 4, 0])),
    ]
    kept = agreement(pairs, np.ones((1, 5)), kendall, keep=lambda y: y > 0)
    assert kept[0] == pytest.approx((1 - 1) / 2)
    pairs[1][0][0] = np.nan  # not trained yet: too few are left of the second seed
    assert agreement(pairs, np.ones((1, 5)), kendall, keep=lambda y: y > 0)[0] == pytest.approx(1)


def test_a_failed_training_ranks_below_an_accuracy_of_nothing():
    x, y = np.array([FAILED, 0.0, 0.1, 0.2]), np.array([0.1, 0.2, 0.3, 0.4])
    assert kendall(x, y, np.ones((1, 4)))[0] == 1


def test_the_top_half_holds_the_middle_one_and_ties():
    assert list(upper_half(np.array([1.0, 5, 3, 2, 4]))) == [False, True, True, False, True]
    assert list(upper_half(np.array([1.0, 3, 3, 5]))) == [False, True, True, True]


def test_an_estimate_is_the_sample_with_percentiles_of_the_resamples():
    found = estimate(np.concatenate([[0.7], np.linspace(0, 1, 1001), [np.nan]]))
    assert found == pytest.approx((0.7, 0.025, 0.975))
    assert str(found) == "0.70 [0.03, 0.97]"


def test_seed_noise_by_hand_raw_and_without_what_moves_all_together():
    # a: 0.1 0.3, b: 0.4 0.6: each has a variance of 0.02, and all of it is shared
    raw, shared = seed_noise(table(seed0=[0.1, 0.4], seed1=[0.3, 0.6]))
    assert (raw, shared) == pytest.approx((np.sqrt(0.02), 0.0))
    # opposite moves: nothing is shared; residuals +-0.1 on four cells over (2-1)(2-1) degrees
    raw, shared = seed_noise(table(seed0=[0.1, 0.6], seed1=[0.3, 0.4]))
    assert (raw, shared) == pytest.approx((np.sqrt(0.02), 0.2))
    assert all(np.isnan(seed_noise(table(seed0=[0.1, FAILED], seed1=[0.3, 0.4]))))
