"""Intervals by hand, by scipy, and from the files that a run holds."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from nas.data.draw import make_manifest
from nas.recipes.recipe import Proxy, plain_recipe
from nas.results.noise import (
    JudgedBy,
    Noise,
    Right,
    highest,
    judged_by_losses,
    margins,
    noise_of,
    paired_variance,
    rivals,
    surely_better,
    tied,
)
from nas.run.folder import open_folder
from nas.run.reading import Reading
from nas.training.curve import packed_bits, unpacked_bits


def test_the_interval_of_images_alone_is_wilsons():
    accuracy = pd.Series([0.9, 1.0])
    below, above = margins(accuracy, Noise(images=100))
    low, high = accuracy - below, accuracy + above
    for right, i in ((90, 0), (100, 1)):
        expected = binomtest(right, 100).proportion_ci(method="wilson")
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_the_spread_between_seeds_widens_it_as_independent_errors_add():
    below, above = margins(pd.Series([0.5]), Noise(images=10**9, seeds=0.01))
    assert (below[0], above[0]) == pytest.approx((0.0196, 0.0196), abs=1e-4)


def test_without_a_manifest_no_interval_is_made_up():
    assert margins(pd.Series([0.5]), Noise())[0].isna().all()
    assert str(Noise()).startswith("no interval")


def test_what_is_beaten_by_less_than_the_noise_is_tied_and_what_is_dearer_and_clearly_worse_is_not():
    table = pd.DataFrame(
        {"accuracy": [0.90, 0.89, 0.80, 0.70], "macs": [2, 3, 3, 1], "state": "complete", "within_limits": True}
    )
    table["below"] = table["above"] = 0.01
    table["accuracy_low"] = table.accuracy - 0.01
    assert list(tied(table, table.loc[[0]]).index) == [3, 1]  # 3 is cheaper than the front's only network


def test_dearer_networks_of_the_front_that_are_not_surely_better_name_the_cheapest_that_may_equal_them():
    table = pd.DataFrame(
        {"accuracy": [0.50, 0.70, 0.705, 0.90], "macs": [1, 2, 3, 4], "state": "complete", "within_limits": True}
    )
    table["below"] = table["above"] = 0.01
    table["accuracy_low"] = table.accuracy - 0.01
    table["expected"] = table.accuracy
    assert list(rivals(table, "macs")) == [None, None, 1, None]
    top, equals = highest(table, table)
    assert top.accuracy == 0.9 and not len(equals)
    assert list(highest(table.iloc[:3], table.iloc[:3])[1].index) == [1]


def test_the_spread_between_seeds_is_that_of_the_runs_own_recipe_on_its_own_images(tiny, tmp_path):
    proxy = Proxy(epochs=3)
    search = tiny().model_copy(update={"proxy": proxy})
    folder = open_folder(tmp_path / "run", search)
    run = Reading(folder, search, records=[], additions=[])
    manifest = make_manifest(proxy, seed=0)
    manifest.write(folder.manifest)

    def calibrated(recipe, images):
        folder.calibration.mkdir(exist_ok=True)
        found = {
            "recipes": {"some": plain_recipe(recipe)},
            "manifests": {"some": images},
            "fidelities": {"some": {"noise": 0.02}},
        }
        (folder.calibration / "calibration.json").write_text(json.dumps(found))
        return noise_of(run).seeds

    assert noise_of(run) == Noise(images=len(manifest.validation), seeds=None)
    assert calibrated(proxy, manifest.hash) == 0.02
    assert calibrated(proxy.model_copy(update={"lr": 0.5}), manifest.hash) is None
    assert calibrated(proxy, "another") is None
    (folder.calibration / "calibration.json").write_text("{")
    assert noise_of(run).seeds is None


@pytest.mark.parametrize(
    ("signal", "taus", "by_losses"),
    [
        ("auto", None, True),
        ("auto", {"accuracy": 0.5, "mean_of_losses": 0.6}, True),
        ("auto", {"accuracy": 0.6, "mean_of_losses": 0.5}, False),
        ("auto", {"accuracy": None, "mean_of_losses": 0.5}, True),
        ("auto", ["no", "mapping"], True),
        ("losses", {"accuracy": 0.6, "mean_of_losses": 0.5}, True),
        ("accuracy", {"accuracy": 0.5, "mean_of_losses": 0.6}, False),
    ],
)
def test_losses_count_as_the_setting_says_or_where_it_is_auto_the_calibration(tiny, tmp_path, signal, taus, by_losses):
    proxy = Proxy(epochs=3, signal=signal)
    folder = open_folder(tmp_path / "run", tiny().model_copy(update={"proxy": proxy}))
    run = Reading(folder, tiny().model_copy(update={"proxy": proxy}), records=[], additions=[])
    manifest = make_manifest(proxy, seed=0)
    manifest.write(folder.manifest)
    folder.calibration.mkdir(exist_ok=True)
    found = {"recipes": {"some": plain_recipe(proxy)}, "manifests": {"some": manifest.hash}}
    found["fidelities"] = {"some": {"noise": 0.02, **({} if taus is None else {"signals": taus})}}
    (folder.calibration / "calibration.json").write_text(json.dumps(found))
    assert judged_by_losses(run) is by_losses
    found["recipes"]["some"]["lr"] = 0.5
    (folder.calibration / "calibration.json").write_text(json.dumps(found))
    assert judged_by_losses(run) is (signal != "accuracy")  # of another recipe: not used


# In pairs


def judged(*answers):
    """A table of networks that got these of the same images right, a row of 0 and 1 each."""
    rows = [Right(len(row), (packed_bits(np.array(row, bool)),)) for row in answers]
    accuracy = pd.Series([float(np.mean(row)) for row in answers])
    below, above = margins(accuracy, Noise(images=len(answers[0])))
    return pd.DataFrame({"accuracy": accuracy, "right": pd.Series(rows, dtype=object), "below": below, "above": above})


def test_networks_that_differ_on_few_images_are_told_apart_where_their_intervals_overlap():
    hard = [0] * 100 + [1] * 300
    better = [1] * 16 + hard[16:]
    table = judged(better, hard)
    assert surely_better(table, table).tolist() == [[False, True], [False, False]]
    bare = table.drop(columns="right")
    assert not surely_better(bare, bare).any()


def test_networks_that_differ_on_many_images_are_not_told_apart_by_as_large_a_difference():
    rng = np.random.default_rng(0)
    one, other = rng.random(400) < 0.79, rng.random(400) < 0.75
    table = judged(one, other)
    assert not surely_better(table, table).any()


@given(st.integers(0, 2**32 - 1), st.integers(30, 400))
@settings(max_examples=30)
def test_the_paired_variance_is_that_of_the_difference_on_each_image(seed, number):
    rng = np.random.default_rng(seed)
    one, other = rng.random((2, number)) < 0.8
    table = judged(one, other)
    here, there = int((one & ~other).sum()), int((~one & other).sum())
    more = number + 2
    expected = ((here + there + 1) / more - ((here - there) / more) ** 2) / more
    assert paired_variance(table, table)[0, 1] == pytest.approx(expected, rel=1e-4)


def test_equal_networks_are_called_different_about_as_rarely_as_promised():
    rng, wrong, pairs = np.random.default_rng(1), 0, 0
    hard = rng.standard_normal(500)
    for _ in range(40):
        table = judged(*[(0.8 * hard + 0.6 * rng.standard_normal(500)) < 1.0 for _ in range(6)])
        wrong, pairs = wrong + int(surely_better(table, table).sum()), pairs + 15
    assert wrong / pairs < 0.08


def test_answers_to_other_images_and_rows_without_answers_are_compared_by_their_intervals():
    table = pd.concat([judged([1] * 90 + [0] * 10), judged([1] * 50 + [0] * 150)], ignore_index=True)
    table.loc[len(table)] = {"accuracy": 0.1, "right": None, "below": 0.01, "above": 0.01}
    assert np.isnan(paired_variance(table, table)[0, 1]) and np.isnan(paired_variance(table, table)[2]).all()
    assert surely_better(table, table)[0].tolist() == [False, True, True]


def test_answers_to_as_many_other_images_are_no_pair():
    table = judged([1, 1, 0, 1] * 20, [1, 0, 0, 1] * 20)
    table.loc[1, "right"] = None
    table.at[1, "right"] = Right(80, (packed_bits(np.array([1, 0, 0, 1] * 20, bool)),), "another manifest")
    assert np.isnan(paired_variance(table, table)[0, 1])


def test_bits_are_packed_and_read_back_and_another_number_is_refused():
    right = np.random.default_rng(0).random(77) < 0.5
    assert (unpacked_bits(packed_bits(right), 77) == right).all()
    for number in (50, 90):
        with pytest.raises(ValueError, match=f"must hold {number} bits"):
            unpacked_bits(packed_bits(right), number)


# Classes that are not even


def test_the_share_of_the_largest_class_and_chance_are_said_and_classes_can_count_alike():
    judged_by = JudgedBy(np.array([0] * 1500 + [1] * 6), ("common", "rare"))
    assert judged_by.is_uneven and judged_by.largest == ("common", pytest.approx(1500 / 1506))
    assert "99.6 % are of the largest class (common)" in str(judged_by) and "chance is 50.0 %" in str(judged_by)
    always_common = np.array([True] * 1500 + [False] * 6)
    assert judged_by.balanced(always_common) == pytest.approx(0.5)
    assert not JudgedBy(np.array([0, 1, 0, 1]), ("a", "b")).is_uneven


def test_networks_that_always_answer_the_same_are_called_what_they_are():
    judged_by = JudgedBy(np.array([0] * 90 + [1] * 10), ("common", "rare"))
    best = pd.DataFrame({"accuracy": [0.90, 0.92], "accuracy_low": [0.83, 0.85]})
    assert "always answering common (90.0 %)" in judged_by.blind(best)
    assert judged_by.blind(best.assign(accuracy_low=[0.83, 0.91])) is None
    assert judged_by.blind(best.assign(accuracy_low=np.nan)) is None
    assert judged_by.blind(best.assign(accuracy=0.9, accuracy_low=np.nan)) is not None
