"""What a calibration says of trainings whose answer is known, and the one line that a search quotes of it."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from nas.calibration.analysis import analyse, of, resolutions
from nas.calibration.picture import draw
from nas.calibration.ranking import FAILED
from nas.errors import NasError
from nas.recipes.recipe import Proxy

TRUE = np.linspace(0.4, 0.6, 12)
NAMES = [f"n{i}" for i in range(12)]
COSTS = pd.DataFrame({"macs": np.arange(12) % 5 + 1.0, "params": 1.0 + np.arange(12) % 3}, index=NAMES)


def trainings(**fidelities) -> pd.DataFrame:
    """`name=(seconds, accuracies of seed 0, of seed 1, ...)` as the table of ended trainings."""
    rows = [
        {"fidelity": fidelity, "name": name, "seed": seed, "accuracy": accuracy, "seconds": seconds}
        for fidelity, (seconds, *seeds) in fidelities.items()
        for seed, values in enumerate(seeds)
        for name, accuracy in zip(NAMES, values, strict=True)
    ]
    return pd.DataFrame(rows).dropna()


def rows_of(analysis) -> dict:
    """The fidelities' rows by name."""
    return {row.fidelity: row for _, row in analysis.fidelities.iterrows()}


def test_the_cheapest_fidelity_that_reaches_the_wanted_tau_is_named():
    mixed = np.random.default_rng(0).permutation(TRUE)
    found = analyse(trainings(short=(1, mixed, mixed), half=(5, TRUE, TRUE), long=(9, TRUE, TRUE)), COSTS, against="long")
    assert list(found.fidelities.fidelity) == ["short", "half", "long"]
    assert rows_of(found)["half"].tau_all == 1 and abs(rows_of(found)["short"].tau_all) < 0.5
    assert list(found.fidelities.cost_ratio) == pytest.approx([1 / 9, 5 / 9, 1])
    assert found.verdict[0].startswith("half is the cheapest fidelity that reaches the wanted Kendall tau of 0.70: 1.00")
    assert "the whole interval does" in found.verdict[0]
    assert found.verdict[1].startswith("half ranks better than ")


def test_that_no_fidelity_is_good_enough_is_said_too():
    mixed = np.random.default_rng(0).permutation(TRUE)
    found = analyse(trainings(short=(1, mixed, mixed), long=(9, TRUE, TRUE)), COSTS, against="long")
    assert found.verdict[0].startswith("No fidelity reaches the wanted Kendall tau of 0.70; the best is short with")
    assert "is not shown to rank better than" in found.verdict[1]


def test_the_reference_itself_shows_the_ceiling_that_seeds_leave():
    swapped = TRUE[[1, 0, *range(2, 12)]]
    found = analyse(trainings(half=(1, TRUE, TRUE), long=(9, TRUE, swapped)), COSTS, against="long")
    assert rows_of(found)["long"].is_reference
    assert rows_of(found)["long"].tau_all == pytest.approx((66 - 2) / 66)  # one of 66 pairs is turned round


def test_architectures_that_hardly_train_are_named_and_left_out_of_the_verdict():
    accuracies = np.array([0.02, 0.03, *np.random.default_rng(1).permutation(TRUE[2:])])
    truth = np.array([0.02, 0.03, *TRUE[2:]])
    found = analyse(trainings(short=(1, accuracies, accuracies), long=(9, truth, truth)), COSTS, against="long", chance=0.02)
    assert found.broken == ["n0", "n1"]
    row = rows_of(found)["short"]
    assert row.tau_all > row.tau_trained + 0.2


def test_where_hardly_any_architecture_trains_the_statistics_are_over_all_and_it_is_said():
    low = TRUE / 10
    found = analyse(trainings(short=(1, low, low), long=(9, low, low)), COSTS, against="long", chance=0.1)
    assert found.broken == [] and rows_of(found)["short"].tau_trained == 1
    assert found.verdict[0].startswith("Only 0 of 12 architectures train at all in long: every statistic is over all")


@pytest.mark.thorough
def test_a_failure_ranks_last_in_its_fidelity_and_drops_out_of_the_reference():
    failed = np.array([FAILED, *TRUE[1:]])
    found = analyse(trainings(short=(1, failed, failed), long=(9, TRUE, TRUE)), COSTS, against="long")
    assert (rows_of(found)["short"].tau_all, rows_of(found)["short"].failed) == (1, 2)
    found = analyse(trainings(short=(1, TRUE, TRUE), long=(9, failed, TRUE)), COSTS, against="long")
    assert found.dropped == ["n0"] and "n0" not in found.ranked


def test_a_truth_from_outside_has_no_seeds_and_no_row():
    truth = pd.Series(dict(zip(NAMES, TRUE, strict=True)))
    found = analyse(trainings(short=(1, TRUE, TRUE[::-1])), COSTS, against="published", truth=truth)
    assert found.seeds == 0 and not found.fidelities.is_reference.any()
    assert rows_of(found)["short"].tau_all == pytest.approx(0)  # one seed agrees, the other is reversed


def test_what_params_alone_reach_is_counted_like_a_fidelity():
    costs = pd.DataFrame({"macs": TRUE, "params": TRUE[::-1]}, index=NAMES)
    found = analyse(trainings(short=(1, TRUE, TRUE), long=(9, TRUE, TRUE)), costs, against="long")
    assert found.floors["macs"]["tau_all"].value == pytest.approx(1)
    assert found.floors["params"]["rho_top"].value == pytest.approx(-1)


def test_an_unfinished_calibration_ranks_what_the_reference_has_and_says_when_that_is_too_little():
    part = np.where(np.arange(12) < 6, TRUE, np.nan)
    found = analyse(trainings(short=(1, TRUE, part), long=(9, part)), COSTS, against="long")
    assert found.ranked == NAMES[:6] and found.seeds == 1
    with pytest.raises(NasError, match="must have at least 4 architectures ranked by long, but has 3 yet"):
        analyse(trainings(short=(1, TRUE), long=(9, np.where(np.arange(12) < 3, TRUE, np.nan))), COSTS, against="long")
    with pytest.raises(NasError, match="must have trainings at the reference long"):
        analyse(trainings(short=(1, TRUE)), COSTS, against="long")


def test_image_sizes_are_compared_where_nothing_else_differs_and_mixers_that_move_are_named():
    moved = TRUE.copy()
    moved[0] = 0.9  # the only attention climbs from the last to the first rank
    table = trainings(proxy=(1, TRUE, TRUE), large=(2, moved, moved), long=(9, TRUE, TRUE))
    recipes = {"proxy": Proxy(), "large": Proxy(image_size=48), "long": Proxy(epochs=24)}
    mixers = {name: {"attention"} if name == "n0" else {"pool"} for name in NAMES}
    (check,) = resolutions(table, recipes, mixers)
    assert (check.small, check.large, check.sizes) == ("proxy", "large", (32, 48))
    assert check.tau == pytest.approx((55 - 11) / 66) and check.ceilings == pytest.approx((1, 1))
    assert check.movers[0] == ("n0", 12, 1)
    assert dict(check.ranks.loc["attention"]) == {"architectures": 1, "small": 12, "large": 1}
    assert check.ranks.loc["pool", "small"] == pytest.approx(6) and check.ranks.loc["pool", "large"] == pytest.approx(7)
    assert resolutions(table, {**recipes, "large": Proxy(image_size=48, epochs=7)}, mixers) == []


def test_the_picture_is_drawn(tmp_path):
    found = analyse(trainings(short=(1, TRUE[::-1], TRUE), long=(9, TRUE, TRUE)), COSTS, against="long")
    draw(found, tmp_path / "calibration.png", title="a title")
    assert Image.open(tmp_path / "calibration.png").size == (1200, 750)


def test_a_statistic_carries_its_interval():
    found = analyse(trainings(short=(1, TRUE, TRUE), long=(9, TRUE, TRUE)), COSTS, against="long")
    assert of(rows_of(found)["short"], "tau_all") == pytest.approx((1, 1, 1))
