"""Intervals by hand, by scipy, and from the files that a run holds."""

import json

import pandas as pd
import pytest
from scipy.stats import binomtest

from nas.calibration.record import plain_recipe
from nas.data.manifest import make_manifest
from nas.recipes.recipe import Proxy
from nas.results.noise import Noise, highest, interval, noise_of, rivals, tied
from nas.run.folder import open_folder
from nas.run.reading import Reading


def test_the_interval_of_images_alone_is_wilsons():
    low, high = interval(pd.Series([0.9, 1.0]), Noise(images=100))
    for right, i in ((90, 0), (100, 1)):
        expected = binomtest(right, 100).proportion_ci(method="wilson")
        assert (low[i], high[i]) == pytest.approx((expected.low, expected.high), abs=1e-4)


def test_the_spread_between_seeds_widens_it_as_independent_errors_add():
    low, high = interval(pd.Series([0.5]), Noise(images=10**9, seeds=0.01))
    assert (low[0], high[0]) == pytest.approx((0.5 - 0.0196, 0.5 + 0.0196), abs=1e-4)


def test_without_a_manifest_no_interval_is_made_up():
    assert interval(pd.Series([0.5]), Noise())[0].isna().all()
    assert str(Noise()).startswith("no interval")


def test_what_is_beaten_by_less_than_the_noise_is_tied_and_what_is_dearer_and_clearly_worse_is_not():
    table = pd.DataFrame({"accuracy": [0.90, 0.89, 0.80, 0.70], "macs": [2, 3, 3, 1], "state": "complete", "affordable": True})
    table["accuracy_low"], table["accuracy_high"] = table.accuracy - 0.01, table.accuracy + 0.01
    assert list(tied(table, table.loc[[0]]).index) == [3, 1]  # 3 is cheaper than the front's only network


def test_dearer_networks_of_the_front_that_are_not_surely_better_name_the_cheapest_that_may_equal_them():
    table = pd.DataFrame({"accuracy": [0.50, 0.70, 0.705, 0.90], "macs": [1, 2, 3, 4], "state": "complete", "affordable": True})
    table["accuracy_low"], table["accuracy_high"] = table.accuracy - 0.01, table.accuracy + 0.01
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
