"""What was picked for a high number is expected lower; what was not picked, or replicated, is left as it is."""

import time

import numpy as np
import pandas as pd
import pytest

from nas.recipes.signals import LOSSES
from nas.results.luck import expected_accuracies, foretold, left_out, mean_paired_variance, posterior_means
from nas.results.noise import Noise, Right, paired_variance
from nas.results.points import trend
from nas.training.curve import packed_bits


def table(spread, *, trials=60, images=500, seed=0):
    """Trials of equal MACs whose true accuracies have a spread, judged by some images; and the truth."""
    rng = np.random.default_rng(seed)
    truth = np.clip(0.8 + spread * rng.standard_normal(trials), 0, 1)
    frame = pd.DataFrame({"accuracy": rng.binomial(images, truth) / images, "macs": 10**8, "replicates": 0})
    return frame.assign(state="complete", baseline=None), pd.Series(truth)


@pytest.mark.thorough
@pytest.mark.parametrize("spread", [0.0, 0.01, 0.02])
def test_the_best_of_many_are_expected_nearer_to_the_truth_than_they_were_seen(spread):
    seen, shrunk = [], []
    for seed in range(30):
        trials, truth = table(spread, seed=seed)
        best = trials["accuracy"].nlargest(5).index
        seen.append((trials["accuracy"] - truth)[best].mean())
        shrunk.append((expected_accuracies(trials, Noise(images=500)) - truth)[best].mean())
    assert np.mean(seen) > 0.01
    assert abs(np.mean(shrunk)) < 0.25 * np.mean(seen)


def test_without_noise_nothing_is_shrunk():
    trials, _ = table(0.05, images=10**7)
    assert np.allclose(expected_accuracies(trials, Noise(images=10**7)), trials["accuracy"], atol=2e-3)
    values = np.array([0.1, 0.2, 0.5])
    assert (posterior_means(values, 0.0) == values).all() and (posterior_means(np.full(9, 0.3), 0.1) == 0.3).all()


def test_a_crowd_of_equals_far_above_the_others_is_shrunk_to_its_own_middle():
    rng = np.random.default_rng(0)
    truth = np.array([0.60] * 10 + [0.90] * 30)
    values = truth + 0.006 * rng.standard_normal(40)
    shrunk = posterior_means(values, 0.006**2)
    assert np.abs(shrunk - truth).max() < 0.4 * np.abs(values - truth).max()


def test_baselines_and_means_over_other_seeds_are_left_as_they_are():
    trials, _ = table(0.0)
    trials.loc[0, "baseline"], trials.loc[1, "replicates"] = "caformer_s18", 3
    expected = expected_accuracies(trials, Noise(images=500))
    assert (expected[[0, 1]] == trials["accuracy"][[0, 1]]).all()
    assert (expected[2:] != trials["accuracy"][2:]).mean() > 0.9


def test_few_trainings_or_no_images_say_nothing_of_luck():
    trials, _ = table(0.0, trials=7)
    assert (expected_accuracies(trials, Noise(images=500)) == trials["accuracy"]).all()
    trials, _ = table(0.0)
    assert (expected_accuracies(trials, Noise()) == trials["accuracy"]).all()


def test_the_mean_over_all_pairs_is_that_of_each_pair_looked_at():
    rng = np.random.default_rng(0)
    chances = [(0.9, 40), (0.5, 40), (0.7, 40), (0.2, 90), (0.3, 90)]  # two data sets' sizes, one or two trainings each
    answers = [Right(n, tuple(packed_bits(rng.random(n) < p) for _ in range(1 + i % 2))) for i, (p, n) in enumerate(chances)]
    trials = pd.DataFrame({"right": pd.Series([*answers, None], dtype=object)})
    pairs = paired_variance(trials, trials)[~np.eye(6, dtype=bool)]
    assert mean_paired_variance(trials) == pytest.approx(np.nanmean(pairs), rel=1e-5)
    assert np.isnan(mean_paired_variance(trials[2:4])) and np.isnan(mean_paired_variance(trials.drop(columns="right")))


def test_the_luck_of_ten_thousand_networks_is_known_in_seconds():
    rng = np.random.default_rng(0)
    rights = pd.Series([Right(500, (packed_bits(rng.random(500) < 0.8),)) for _ in range(10_000)], dtype=object)
    began = time.monotonic()
    assert mean_paired_variance(pd.DataFrame({"right": rights})) == pytest.approx(2 * 0.16 / 500, rel=0.02)
    assert time.monotonic() - began < 5


def test_losses_bring_what_is_expected_nearer_to_the_truth():
    errors = {"macs": [], "losses": []}
    for seed in range(20):
        trials, truth = table(0.02, images=300, seed=seed)
        noise = np.random.default_rng(seed).normal(0, 0.005, (3, len(truth)))
        losses = {name: truth + own for name, own in zip(LOSSES, noise, strict=True)}
        for name, frame in (("macs", trials), ("losses", trials.assign(**losses))):
            errors[name].append(((expected_accuracies(frame, Noise(images=300)) - truth) ** 2).mean())
    assert np.mean(errors["losses"]) < 0.6 * np.mean(errors["macs"])


def test_a_trial_whose_losses_are_not_known_falls_back_on_macs():
    trials, truth = table(0.02)
    known = trials.assign(**dict.fromkeys(LOSSES, truth))
    assert not foretold(known).equals(trend(trials))
    known.loc[3, LOSSES[0]] = np.nan
    assert foretold(known).equals(trend(trials))
    assert np.allclose(foretold(trials.assign(**dict.fromkeys(LOSSES, 1.0))), trend(trials), atol=0.01)


@pytest.mark.parametrize("penalty", [0.1, 10.0, 1000.0])
def test_what_is_foretold_of_a_trial_is_learnt_from_the_others_alone(penalty):
    rng = np.random.default_rng(0)
    features, targets = rng.normal(size=(12, 3)), rng.normal(size=12)
    features -= features.mean(axis=0)
    by_hand = []
    for left in range(12):
        rest = np.arange(12) != left
        inputs = np.column_stack([np.ones(11), features[rest]])
        shrink = np.diag([0.0, penalty, penalty, penalty])
        weights = np.linalg.solve(inputs.T @ inputs + shrink, inputs.T @ targets[rest])
        by_hand.append(np.array([1.0, *features[left]]) @ weights)
    assert left_out(features, targets, penalty) == pytest.approx(by_hand)
