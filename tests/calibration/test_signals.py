"""Signals against a known truth: which ranks better, by how much, within equal cost, and between seeds."""

import numpy as np
import pandas as pd
import pytest

from nas.calibration.analysis import analyse
from nas.calibration.ranking import FAILED, kendall
from nas.calibration.signals import BAND, COMBINED, stage_features, trust
from nas.recipes.signals import MEAN_OF_LOSSES
from nas.space.architecture import Architecture, Stage

NUMBER = 24
NAMES = [f"n{i}" for i in range(NUMBER)]
TRUE = np.linspace(0.3, 0.6, NUMBER)
RNG = np.random.default_rng(0)
COSTS = pd.DataFrame(
    {"macs": np.geomspace(1e6, 1e8, NUMBER)[RNG.permutation(NUMBER)], "params": RNG.permutation(NUMBER) + 1.0}, NAMES
)
ALL = np.ones(NUMBER, bool)


def rows(fidelity, seed, *, accuracy, seconds=1.0, **signals):
    return pd.DataFrame(
        {"fidelity": fidelity, "name": NAMES, "seed": seed, "accuracy": accuracy, "seconds": seconds, **signals}
    )


def trainings(noise=0.05):
    rng = np.random.default_rng(1)
    tables = []
    for seed in (0, 1):
        noisy = TRUE + rng.normal(0, noise, NUMBER)
        losses = {name: TRUE for name in ("validation_loss", "training_losses", "last_training_loss")}
        tables += [rows("short", seed, accuracy=noisy, **losses), rows("long", seed, accuracy=TRUE, seconds=9.0, **losses)]
    return pd.concat(tables)


REFERENCE = pd.DataFrame({0: TRUE, 1: TRUE}, index=NAMES)


def by_signal(table, fidelity="short"):
    return table[table.fidelity == fidelity].set_index("signal")


def test_a_signal_without_noise_ranks_perfectly_and_repeats_and_the_noisy_one_does_not():
    table = by_signal(trust(trainings(), COSTS, REFERENCE, trains=ALL))
    assert table.tau["validation_loss"] == table.repeats["validation_loss"] == table.tau[MEAN_OF_LOSSES] == 1
    assert table.tau["accuracy"] < 0.95 and table.repeats["accuracy"] < 0.95
    assert table.regret["validation_loss"] == 0 <= table.regret["accuracy"]


def test_combined_finds_the_good_signal_among_noise():
    table = by_signal(trust(trainings(noise=0.2), COSTS, REFERENCE, trains=ALL))
    assert table.tau[COMBINED] > 0.9 > table.tau["accuracy"]


def test_combined_learns_from_what_the_networks_are_where_no_signal_says_anything():
    noise = rows("short", 0, accuracy=RNG.permutation(TRUE), validation_loss=RNG.permutation(TRUE))
    one = REFERENCE[[0]]
    stages = pd.DataFrame({"stage1.depth": TRUE + RNG.normal(0, 0.01, NUMBER)}, index=NAMES)
    without, within = (by_signal(trust(noise, COSTS, one, trains=ALL, stages=each)).tau[COMBINED] for each in (None, stages))
    assert within > 0.8 > without


def test_the_settings_in_which_networks_differ_become_columns():
    pool = Architecture(stages=[Stage(mixer="pool", depth=depth, width=16) for depth in (1, 2)])
    conv = Architecture(stages=[Stage(mixer="conv", depth=depth, width=16) for depth in (1, 3)])
    table = stage_features({"a": pool, "b": conv})
    assert list(table.index) == ["a", "b"] and table.loc["b", "stage2.depth"] == 3
    assert table["stage1.mixer_conv"].tolist() == [0, 1] and table["stage1.mixer_pool"].tolist() == [1, 0]
    assert not {"stage1.depth", "stage1.width", "stage2.norm"} & {name.partition("_layer")[0] for name in table}
    assert np.isfinite(table.to_numpy()).all()


def test_the_difference_to_a_cost_is_the_difference_of_their_taus():
    table = by_signal(trust(trainings(), COSTS, REFERENCE, trains=ALL))
    params = kendall(COSTS["params"].to_numpy(), TRUE, np.ones((1, NUMBER)))[0]
    assert table.over_params["validation_loss"] == pytest.approx(1 - params)
    assert (
        table.over_params_low["validation_loss"]
        <= table.over_params["validation_loss"]
        <= table.over_params_high["validation_loss"]
    )


def test_the_band_holds_pairs_of_about_equal_macs_only():
    # within each pair of equal cost the order is right, between pairs it is turned round
    macs = np.repeat(np.geomspace(1e6, 1e8, NUMBER // 2), 2)
    assert macs[2] / macs[0] > BAND
    wrong = TRUE.reshape(-1, 2)[::-1].reshape(-1)
    own = pd.concat([rows("short", seed, accuracy=wrong, validation_loss=wrong) for seed in (0, 1)])
    table = by_signal(trust(own, COSTS.assign(macs=macs), REFERENCE, trains=ALL))
    assert table.band["accuracy"] == 1 and table.tau["accuracy"] < 0


def test_pairs_are_counted_among_those_asked_for():
    x, y = np.array([1.0, 2, 3]), np.array([1.0, 3, 2])
    among = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], bool)
    assert kendall(x, y, np.ones((1, 3)), among=among)[0] == 1
    assert kendall(x, y, np.ones((1, 3)))[0] == pytest.approx(1 / 3)


def test_a_failed_training_ranks_last_by_every_signal():
    table = trainings()
    failed = (table.fidelity == "short") & (table.name == NAMES[-1])
    table.loc[failed, "accuracy"] = FAILED
    table.loc[failed, ["validation_loss", "training_losses", "last_training_loss"]] = 99.0
    result = by_signal(trust(table, COSTS, REFERENCE, trains=ALL))
    assert result.tau["validation_loss"] == pytest.approx(1 - 2 * (NUMBER - 1) / (NUMBER * (NUMBER - 1) / 2))


def test_one_seed_has_no_repeats_and_few_architectures_are_not_combined():
    few = trainings()
    few = few[(few.seed == 0) & few.name.isin(NAMES[:6])]
    table = by_signal(trust(few, COSTS.loc[NAMES[:6]], REFERENCE.loc[NAMES[:6], [0]], trains=ALL[:6]))
    assert table.repeats.isna().all() and COMBINED not in table.index


def test_what_learns_from_long_trainings_is_not_offered_to_a_search_which_has_none():
    noisy = trainings(noise=0.2).assign(validation_loss=0.0, training_losses=0.0, last_training_loss=0.0)
    found = analyse(noisy, COSTS, against="long", stages=pd.DataFrame({"stage1.depth": TRUE}, index=NAMES))
    table = by_signal(found.signals)
    assert table.tau[COMBINED] > table.tau["accuracy"] and "combined" not in found.verdict[-1]


def test_a_calibration_names_its_best_signal_beside_accuracy():
    found = analyse(trainings(), COSTS, against="long")
    assert list(dict.fromkeys(found.signals.fidelity)) == ["short", "long"]
    assert found.verdict[-1].startswith("Best signal: validation loss of short, 1.00 [1.00, 1.00]; its accuracy 0.")
