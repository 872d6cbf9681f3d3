"""The front after full training beside the proxy's, and what is chosen to be trained."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from nas.errors import ConfigError, NasError
from nas.results.standing import standing
from nas.retraining import front as retrained
from nas.retraining.folder import Result
from nas.run.folder import open_folder
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture, Stage
from nas.winners import selection as chosen_module
from nas.winners.selection import Chosen, own_data, selected


def architecture(width):
    return Architecture(stages=(Stage(mixer="conv", depth=1, width=width),))


def member(name, macs, proxy, *, baseline=False):
    return Chosen(name, architecture(macs), proxy, macs, (macs,), baseline)


def result(accuracy):
    return Result(
        accuracy=accuracy, top5=1.0, loss=0.1, train_images=9, test_images=4, epochs=2, kept_epoch=2, seconds=3.0, device="cpu",
        processes=1, versions={}, setup={},
    )  # fmt: skip


MEMBERS = [
    member("trial_0", 10, 0.5), member("trial_1", 20, 0.6), member("trial_2", 30, 0.7), member("small", 25, 0.4, baseline=True),
]  # fmt: skip


def test_each_ranking_has_a_front_of_its_own():
    ended = {"trial_0": result(0.8), "trial_1": result(0.7), "trial_2": result(0.9), "small": result(0.85)}
    found = retrained.retrained_table(MEMBERS, ended).set_index("name")
    assert list(found.index) == ["trial_0", "trial_1", "small", "trial_2"]
    assert found["proxy_front"].to_dict() == {"trial_0": True, "trial_1": True, "small": False, "trial_2": True}
    assert found["front"].to_dict() == {"trial_0": True, "trial_1": False, "small": True, "trial_2": True}


def test_the_rank_correlation_is_worked_out_over_those_that_ended():
    ended = {"trial_0": result(0.8), "trial_1": result(0.7), "trial_2": result(0.9), "small": result(0.6)}
    found = retrained.proxy_agreement(retrained.retrained_table(MEMBERS, ended))
    # proxy .4 .5 .6 .7 against .6 .8 .7 .9: five of six pairs agree
    assert (found.kendall.value, found.spearman.value, found.number) == (pytest.approx(4 / 6), pytest.approx(0.8), 4)
    assert "over 4 networks" in str(found)
    less = retrained.proxy_agreement(retrained.retrained_table(MEMBERS, {**ended, "small": "the training diverged"}))
    assert less.number == 3 and np.isnan(less.kendall.value) and "none, with 3 networks" in str(less)


def test_what_failed_is_told_and_what_is_missing_stays_empty(tmp_path):
    outcomes = {"trial_0": result(0.8), "trial_1": "the training diverged", "trial_2": result(0.9)}
    found = retrained.retrained_table(MEMBERS, outcomes)
    retrained.write_retrained(found, tmp_path)
    rows = pd.read_csv(tmp_path / "retrained.csv").set_index("name")
    assert rows.loc["trial_1", "cause"] == "the training diverged" and pd.isna(rows.loc["small", "accuracy"])
    assert not rows.loc["trial_1", "front"]
    assert (tmp_path / "retrained.png").read_bytes().startswith(b"\x89PNG")
    console = Console(record=True, width=160, file=open(tmp_path / "told", "w"))  # noqa: SIM115
    retrained.show_retrained(found, console)
    assert "the training diverged" in console.export_text()


def test_two_choices_at_once_are_refused():
    with pytest.raises(ConfigError, match=r"--trial and --front: one choice at a time, but got 2. Leave all but one out."):
        selected("runs/x", trial=3, knee=False, front=True)


def test_a_runs_folder_alone_names_no_network(tmp_path):
    (tmp_path / "search.yaml").write_text("name: x")
    with pytest.raises(ConfigError, match=r"is a search's folder. Say which network: .*:NUMBER, --knee or --front"):
        selected(str(tmp_path), trial=None, knee=False, front=False)


def test_a_design_is_called_by_its_name():
    (found,) = selected("caformer_s18", trial=None, knee=False, front=False)
    assert (found.name, found.accuracy, found.is_baseline) == ("caformer_s18", None, False)


def test_networks_of_photos_are_retrained_on_these_and_not_on_a_recipes_own(tmp_path):
    open_folder(tmp_path / "photos", read_search("tiny", settings=["proxy.data=photos"]))
    open_folder(tmp_path / "digits", read_search("tiny"))
    (tmp_path / "retrained").mkdir()
    found = [own_data(str(tmp_path / name)) for name in ("photos", "photos:5", "digits", "retrained")]
    assert found == ["photos", "photos", None, None]
    assert own_data("caformer_s18") is None


def trials():
    """Six trials: a front of three, one tied with it, one beaten beyond the noise, a baseline off the front."""
    rows = [(0, 10, 0.5), (1, 20, 0.6), (2, 30, 0.7), (3, 21, 0.58), (4, 29, 0.3), (5, 40, 0.65)]
    table = pd.DataFrame(rows, columns=["trial", "macs", "accuracy"])
    table["below"] = table["above"] = 0.05
    table["accuracy_low"], table["expected"] = table["accuracy"] - 0.05, table["accuracy"]
    table["state"], table["within_limits"], table["run"] = "complete", True, "mine"
    table["baseline"] = [None, None, None, None, None, "small"]
    table["key"] = [f"k{i}" for i in table["trial"]]
    return table


def shown(table):
    """What `_standing` gives of a run with these trials."""
    records = SimpleNamespace(
        record=lambda number: SimpleNamespace(architecture=architecture(number + 1)),
        search=SimpleNamespace(objectives=("accuracy", "macs")),
    )
    return lambda run: (records, standing(table, ("macs",)))


def test_the_front_means_all_within_the_noise_of_it_and_then_the_baselines(monkeypatch, tmp_path):
    monkeypatch.setattr(chosen_module, "_standing", shown(trials()))
    found = selected(str(tmp_path), trial=None, knee=False, front=True)
    assert [m.name for m in found] == ["trial_0", "trial_1", "trial_3", "trial_2", "small"]
    assert [m.is_baseline for m in found] == [False, False, False, False, True]


def test_a_front_of_two_has_no_knee(monkeypatch, tmp_path):
    monkeypatch.setattr(chosen_module, "_standing", shown(trials().iloc[:2]))
    with pytest.raises(NasError, match="has no knee: that takes a front of three different networks"):
        selected(str(tmp_path), trial=None, knee=True, front=False)
