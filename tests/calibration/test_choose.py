"""What a calibration recommends for a budget: what ranks best among what can be paid for."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
import yaml
from rich.console import Console

from nas.calibration.analysis import analyse
from nas.calibration.choose import announced, chosen, hours_of, settings_of_choice, show_choice
from nas.calibration.plan import draft
from nas.calibration.record import Trainings
from nas.calibration.work import with_data
from nas.errors import ConfigError, NasError
from nas.run.folder import open_folder
from nas.run.settings.search import read_search
from nas.units import hours_in

NAMES = [f"n{i}" for i in range(12)]
TRUE = np.linspace(0.4, 0.6, 12)
MIXED = np.random.default_rng(0).permutation(TRUE)
COSTS = pd.DataFrame({"macs": np.arange(12) % 5 + 1.0, "params": 1.0 + np.arange(12) % 3}, index=NAMES)


def rows(fidelity, seconds, accuracy, loss, seeds=(0, 1)):
    own = {"fidelity": fidelity, "name": NAMES, "accuracy": accuracy, "validation_loss": loss, "seconds": seconds}
    return pd.concat([pd.DataFrame({**own, "seed": seed}) for seed in seeds])


@cache
def analysis(seeds=(0, 1)):
    """quick ranks badly, half well by its loss alone, long is the reference."""
    return analyse(
        pd.concat(
            [
                rows("quick", 1.0, MIXED, MIXED, seeds),
                rows("half", 10.0, MIXED, TRUE, seeds),
                rows("long", 100.0, TRUE, MIXED, seeds),
            ]
        ),
        COSTS,
        against="long",
    )


def search(**settings):
    return read_search("tiny", settings=["search.trials=40", "resources.workers=2", *settings.get("set_", [])])


@pytest.mark.parametrize(("text", "hours"), [("24h", 24), ("90min", 1.5), ("2d", 48), ("1.5", 1.5), (" .5 h", 0.5)])
def test_a_budget_is_a_duration(text, hours):
    assert hours_in(text, where="--choose") == hours


@pytest.mark.parametrize("text", ["", "h", "0h", "-3h", "24 hours", "1e9h", "nan", "10s", "9" * 400])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ConfigError, match=r"--choose: must be a duration such as 24h, 90min or 2d, but got"):
        hours_in(text, where="--choose")


@pytest.mark.parametrize(
    ("hours", "fidelity", "signal"),
    [(1.0, "half", "validation_loss"), (0.06, "half", "validation_loss"), (0.05, "quick", "accuracy")],  # half: 40 x 10 s / 2
)
def test_the_best_ranking_that_can_be_paid_for_is_chosen_the_cheaper_of_equals(hours, fidelity, signal):
    choice = chosen(search(), analysis(), hours)
    assert (choice.fidelity, choice.signal, choice.trials) == (fidelity, signal, 40)
    assert choice.hours <= hours


def test_a_reference_of_one_seed_agrees_with_itself_and_is_not_chosen():
    assert chosen(search(), analysis(seeds=(0,)), 100.0).fidelity == "half"


def test_too_small_a_budget_gets_fewer_trials_and_far_too_small_a_one_is_refused():
    assert chosen(search(), analysis(), 15 / 2 / 3600).trials == 15
    with pytest.raises(NasError, match=r"at least 10 trials beside the baselines, but .* allow 4 of the cheapest training"):
        chosen(search(), analysis(), 4 / 2 / 3600)


def test_gpu_hours_count_the_share_of_a_gpu():
    assert hours_of(search(set_=["resources.gpu=0.25"]), 100, 36.0) == pytest.approx(0.25)
    assert hours_of(search(), 100, 36.0) == pytest.approx(0.5)  # two workers


def test_what_is_written_extends_the_run_and_can_be_read(tmp_path):
    own = read_search("tiny", settings=["search.trials=40", "calibration.designs=[]"])
    folder = open_folder(tmp_path, own)
    folder.calibration.mkdir()
    plan = draft(own, where="test")
    fidelities = {
        "quick": own.proxy.model_copy(update={"epochs": 2, "warmup_epochs": 0.5}),
        "half": own.proxy,
        "long": own.proxy,
    }
    plan = plan._replace(fidelities=fidelities, against="long")
    shown = Console(record=True, width=200)
    show_choice(plan, analysis(), 15 / 2 / 3600, root=tmp_path, console=shown)
    path = folder.calibration / "chosen.yaml"
    read = read_search(path)
    assert (read.name, read.proxy.epochs, read.proxy.rungs, read.trials) == ("tiny-chosen", 2, (1,), 15)
    assert read.space == own.space and read.proxy.signal == "accuracy"
    text = shown.export_text()
    assert (
        "the training called quick, judged by accuracy" in text
        and "not shown to rank better than the number of parameters" in text
    )
    assert f"search {path}" in text


def test_only_what_differs_is_written():
    choice = chosen(search(), analysis(), 0.2)
    settings = settings_of_choice(search(), search().proxy, choice)
    assert yaml.safe_dump(settings) == yaml.safe_dump({"name": "tiny-chosen", "proxy": {"signal": "losses"}})


def test_a_pilot_that_would_eat_the_budget_is_refused_with_the_way_out(tmp_path):
    own = read_search("tiny", settings=["calibration.designs=[]"])
    folder = open_folder(tmp_path, own)
    plan = with_data(draft(own, where="test"), folder, Console(quiet=True))
    done = Trainings(folder.calibration / "trainings.csv")
    announced(plan, done, console=Console(quiet=True), hours=None, is_sure=True)
    announced(plan, done, console=Console(quiet=True), hours=1000.0, is_sure=True)
    with pytest.raises(ConfigError, match=r"the pilot must take at most 25% of the budget(.|\n)*calibration\.random"):
        announced(plan, done, console=Console(quiet=True), hours=1e-6, is_sure=True)


def test_a_calibration_of_many_times_the_search_is_asked_for_twice_if_it_is_long(tmp_path, monkeypatch):
    own = read_search("tiny", settings=["calibration.designs=[]"])
    folder = open_folder(tmp_path, own)
    plan = with_data(draft(own, where="test"), folder, Console(quiet=True))
    done = Trainings(folder.calibration / "trainings.csv")
    announced(plan, done, console=Console(quiet=True), hours=None, is_sure=False)  # a minute
    monkeypatch.setattr("nas.calibration.show.SHORT_SECONDS", 0.0)
    with pytest.raises(ConfigError, match=r"would take \d\d times what the search itself takes.*--yes.*calibration\.random"):
        announced(plan, done, console=Console(quiet=True), hours=None, is_sure=False)
    announced(plan, done, console=Console(quiet=True), hours=None, is_sure=True)
