"""Scores of untrained networks: for every mixer, from a seed, and told apart; the best of them found by a calibration."""

import csv
import math

import numpy as np
import pandas as pd
import pytest
import torch

from nas.calibration.record import Scores, Training
from nas.calibration.scores import SCORES, expressivity, patterns, scores_of
from nas.calibration.signals import UNTRAINED, trust
from nas.data.draw import make_manifest
from nas.errors import ConfigError
from nas.recipes.recipe import Proxy
from nas.space.architecture import Architecture, Stage
from nas.space.mixers import MIXERS

RECIPE = Proxy(image_size=32, images_per_class=10, epochs=2, warmup_epochs=0.5)


@pytest.fixture(scope="module")
def manifest():
    return make_manifest(RECIPE, seed=0)


def network(mixer="pool", *, width=16, depth=1, **stage):
    stages = tuple(Stage(mixer=mixer, depth=depth, width=w, **stage) for w in (width, 2 * width))
    return Architecture(stages=stages, stem_stride=4)


@pytest.mark.thorough
@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_has_every_score_and_the_seed_decides_it(mixer, manifest):
    architecture = network(mixer, width=32)
    first, again, other = (scores_of(architecture, RECIPE, manifest=manifest, seed=seed, root=None) for seed in (0, 0, 1))
    assert set(first) == set(SCORES) and all(map(math.isfinite, first.values()))
    assert first == pytest.approx(again) and first != pytest.approx(other)


def test_an_mlp_with_a_convolution_has_patterns_too(manifest):
    assert scores_of(network(mlp="conv"), RECIPE, manifest=manifest, seed=0, root=None)["patterns"] > 0


def test_a_network_without_an_mlp_has_no_patterns_and_one_that_images_do_not_suit_no_scores(manifest):
    assert scores_of(network(mlp_ratio=0), RECIPE, manifest=manifest, seed=0, root=None)["patterns"] == 0
    deep = Architecture(stages=tuple(Stage(mixer="pool", depth=1, width=8) for _ in range(6)))
    assert scores_of(deep, RECIPE, manifest=manifest, seed=0, root=None) is None


def test_images_that_are_all_the_same_switch_the_same_units():
    from nas.models.metaformer import build

    model = build(network(), image_size=32, num_classes=10).eval()
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    same = images[:1].expand(8, -1, -1, -1).clone()
    assert patterns(model, images) > patterns(model, same) + 10
    deeper = build(network(depth=3), image_size=32, num_classes=10).eval()
    assert expressivity(deeper, images) > expressivity(model, images)


def test_scores_are_put_down_and_found_by_the_training_that_they_are_of(tmp_path, manifest):
    beginning = Training(fidelity="proxy", name="n", architecture=network(), recipe=RECIPE, manifest=manifest.hash, seed=0)
    other = beginning.model_copy(update={"seed": 1})
    scores = Scores(tmp_path / "scores.csv")
    assert scores.of(beginning) is None
    scores.add(beginning, {"patterns": 1.5})
    scores.add(other, {})
    read = Scores(tmp_path / "scores.csv")
    assert read.of(beginning) == {"patterns": 1.5} and read.of(other) == {}


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", "null", '{"patterns": "high"}', '{"patterns": null}', "[" * 5000])
def test_damaged_scores_are_said_with_the_file(tmp_path, manifest, text):
    beginning = Training(fidelity="proxy", name="n", architecture=network(), recipe=RECIPE, manifest=manifest.hash, seed=0)
    path = tmp_path / "scores.csv"
    rows = [Scores.COLUMNS, ("n", "0", beginning.setup, text)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(ConfigError, match=r"scores\.csv: is damaged: scores must be a JSON object of numbers"):
        Scores(path).of(beginning)


def test_scores_stand_beside_the_signals_as_those_of_the_untrained():
    names, truth = [f"n{i}" for i in range(12)], np.linspace(0.4, 0.6, 12)
    costs = pd.DataFrame({"macs": np.arange(12) % 5 + 1.0, "params": 1.0 + np.arange(12) % 3}, index=names)
    rows = pd.concat(
        [pd.DataFrame({"fidelity": "long", "name": names, "seed": s, "accuracy": truth, "seconds": 1.0}) for s in (0, 1)]
    )
    scores = pd.concat([pd.DataFrame({"name": names, "seed": s, "patterns": truth, "jacobian": -truth}) for s in (0, 1)])
    reference = pd.DataFrame({0: truth, 1: truth}, index=names)
    table = trust(rows, costs, reference, trains=np.ones(12, bool), scores=scores)
    untrained = table[table.fidelity == UNTRAINED].set_index("signal")
    assert untrained.tau["patterns"] == 1 and untrained.tau["jacobian"] == -1
