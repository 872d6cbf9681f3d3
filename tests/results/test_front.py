import io
import json
import re
import shutil
import sqlite3
from contextlib import closing

import pandas as pd
import pytest
from rich.console import Console

from nas import __version__
from nas.errors import ConfigError, NasError
from nas.report.ending import show_result
from nas.report.page import write_report
from nas.report.terminal import most_macs, show_front
from nas.results.columns import COLUMNS
from nas.results.course import volumes
from nas.results.front import curves, front, hypervolume, load, save
from nas.run import reading
from nas.run.folder import open_folder, read_run
from nas.run.front import reference_costs
from nas.search.study import Study
from nas.space.architecture import Architecture
from nas.terminal import Terminal
from tests.studies import epoch


@pytest.fixture
def run(tiny, tmp_path):
    """A run of five trials: three complete, one stopped, one failed, and a baseline outside the constraints."""
    settings = tiny("search.trials=5", "baselines=[poolformer_s12]")
    folder = open_folder(tmp_path / "run", settings)
    study = Study(settings, folder, manifest_hash="feed")
    for accuracy in (0.99, 0.7, None, "nan", 0.6, 0.9):
        number = study.propose().number
        study.report(number, epoch(1, 0.5, loss=1.0))
        if accuracy is None:
            study.stop(number)
        elif accuracy == "nan":
            study.fail(number, cause="diverged: loss nan", seconds=1.0)
        else:
            study.finish(number, accuracy=accuracy, seconds=2.0)
    study.close()
    return folder.root


def test_the_table_has_one_row_a_trial_and_says_what_became_of_it(run):
    trials = load(run)
    assert set(COLUMNS) <= {*trials.columns}
    assert list(trials[trials.state != "answered"].state) == [
        "complete",
        "complete",
        "stopped",
        "failed",
        "complete",
        "complete",
    ]
    assert trials.accuracy.notna().sum() == (trials.state.isin(["complete", "answered"])).sum()
    assert trials.baseline.iloc[0] == "poolformer_s12"
    assert (trials.epochs[trials.state != "answered"] == 1).all()


def test_an_architecture_in_the_table_can_be_built_again(run):
    for architecture, key in zip(load(run).architecture, load(run).key, strict=True):
        assert architecture.key == key


def test_the_front_holds_affordable_complete_trials_only_cheapest_first(run):
    show_result(read_run(run)[1], root=run, console=Console(quiet=True))
    best = pd.read_csv(run / "front.csv")
    assert list(best.columns) == COLUMNS
    assert (best.state == "complete").all() and best.baseline.isna().all()
    assert best.macs.is_monotonic_increasing and best.accuracy.is_monotonic_increasing
    assert 0.9 in set(best.accuracy)


@pytest.mark.thorough
def test_the_end_of_a_search_writes_the_picture_and_both_tables(run):
    show_result(read_run(run)[1], root=run, console=Console(quiet=True))
    assert len(pd.read_csv(run / "trials.csv")) == len(load(run))
    assert (run / "front.png").read_bytes().startswith(b"\x89PNG")


def test_a_run_that_is_just_starting_says_so(tiny, tmp_path):
    search = tiny("baselines=[poolformer_s12]")
    folder = open_folder(tmp_path / "run", search)
    Study(search, folder, manifest_hash="feed")
    with pytest.raises(NasError, match="no trial has finished yet, so there is no front"):
        show_front((folder.root,), Console(quiet=True))


def test_a_run_is_no_rival_of_itself(run):
    with pytest.raises(NasError, match="a run was named twice"):
        show_front((run, run / ".." / run.name), Console(quiet=True))


@pytest.mark.thorough
@pytest.mark.parametrize("x", ["trial", "accuracy", "foo"])
def test_what_is_no_cost_is_refused_with_the_costs(run, x):
    costs = "macs, params, frozen_params, activation_bytes, latency_ms, latency_int8_ms, seconds"
    with pytest.raises(ConfigError, match=f"--x: unknown cost '{x}'.*{costs}"):
        show_front((run,), Console(quiet=True), x=x)


def test_conditions_of_a_latency_that_nobody_measured_are_no_secret(run):
    with pytest.raises(NasError, match=r"no latency was recorded\. Measure it"):
        show_front((run,), Console(quiet=True), latency="cuda")


def test_json_holds_no_json_in_texts(run, capsys):
    show_front((run,), Console(), output="json")
    (first, *_) = json.loads(capsys.readouterr().out)
    assert not any(isinstance(value, str) and value[:1] in "[{" for value in first.values())


def test_a_run_with_nothing_finished_says_what_failed(tiny, tmp_path):
    settings = tiny("search.trials=2")
    folder = open_folder(tmp_path / "run", settings)
    study = Study(settings, folder, manifest_hash="feed")
    study.fail(study.propose().number, cause="out of memory: 3 GB", seconds=1.0)
    with pytest.raises(NasError, match=r"no trial has finished yet.*\n  1 x failed: out of memory: 3 GB"):
        show_front((folder.root,), Console(quiet=True))
    with pytest.raises(NasError, match="no trial has finished yet"):
        write_report(folder.root, Console(quiet=True))


def test_a_trial_that_is_just_being_written_counts_as_running(tiny, tmp_path):
    folder = open_folder(tmp_path / "run", tiny("search.trials=9"))
    study = Study(tiny("search.trials=9"), folder, manifest_hash="feed")
    study.finish(study.propose().number, accuracy=0.5, seconds=1.0)
    study.propose()
    study.report(study.propose().number, epoch(1, 0.4, loss=1.0))
    assert list(load(folder.root).state) == ["complete", "running", "paused"]
    assert list(load(folder.root).epochs) == [0, 0, 1]


def test_an_architecture_of_another_version_is_refused_with_the_way_out(run):
    with closing(sqlite3.connect(run / "study.db")) as connection, connection:
        connection.execute("UPDATE trial_user_attributes SET value_json = '{\"layers\": 3}' WHERE key = 'architecture'")
    with pytest.raises(NasError, match=r"architectures that this version cannot read .* the version that search\.yaml names"):
        load(run)


def test_several_runs_stand_in_one_table_under_their_names(run, tmp_path):
    shutil.copytree(run, tmp_path / "other" / run.name)
    shutil.copytree(run, tmp_path / "second")
    assert set(load(run, tmp_path / "second").run) == {"run", "second"}
    assert set(load(run, tmp_path / "other" / "run").run) == {str(run), str(tmp_path / "other" / "run")}


def shown(run, **options) -> str:
    console = Console(width=160, record=True, quiet=False, file=io.StringIO())
    show_front((run,), console, **options)
    return console.export_text()


def test_the_table_shows_the_front_and_what_beats_a_baseline(run):
    text = shown(run)
    before, after = text.split("\nBaselines")
    assert "90.0 %" in before and "poolformer_s12" not in before  # a block of their own
    assert re.search(r"poolformer_s12 +outside the constraints, not dominated", after)
    assert "architecture: stage by stage mixer, depth · width; " in after


@pytest.mark.thorough
@pytest.mark.parametrize("width", [30, 60, 80, 100, 140])
@pytest.mark.parametrize("x", [None, "activation_bytes"])
def test_no_word_of_the_table_is_broken_whatever_the_terminal(run, width, x):
    wide, output = shown(run, x=x), io.StringIO()
    show_front((run,), Terminal(file=output, width=width, force_terminal=True, no_color=True), x=x)
    text = re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue())
    lines = [line.rstrip() for line in text.splitlines()]
    assert [line for line in lines if len(line) > width and str(run) not in line] == []
    words = set(re.sub(r"[,;:]", " ", wide).split())
    assert set(re.sub(r"[,;:]", " ", text).split()) - {"trial"} <= words
    assert {"poolformer_s12", "dominated"} <= set(re.sub(r"[,;:]", " ", text).split())


def test_a_limit_or_another_cost_changes_what_is_shown_and_looking_writes_nothing(run):
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert "parameters" in shown(run, x="params")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    with pytest.raises(NasError, match=r"no finished trial is inside the limits, and the cheapest finished one has"):
        shown(run, max_macs=1)
    with pytest.raises(NasError, match="latency_ms: an objective must be a number that the record holds"):
        shown(run, x="latency_ms")


def test_a_limit_is_a_count():
    assert (most_macs("1.5G"), most_macs(None)) == (1_500_000_000, None)
    with pytest.raises(NasError, match=r"--max-macs: must be a count such as 1\.5G or 800M, but got 'much'"):
        most_macs("much")


@pytest.fixture
def beside(tiny, tmp_path):
    """Another run with one finished trial, of other settings and images."""

    def begun(*settings: str, manifest: str):
        search = tiny(*settings)
        folder = open_folder(tmp_path / "other", search)
        study = Study(search, folder, manifest_hash=manifest)
        study.finish(study.propose().number, accuracy=0.5, seconds=1.0)
        study.close()
        return folder.root

    return begun


def test_runs_whose_numbers_mean_different_things_share_no_front(run, beside):
    other = beside("proxy.image_size=24", manifest="beef")
    with pytest.raises(NasError, match=r"must share data, resolution(.|\n)*trained at 32 px and .*24 px(.|\n)*feed and beef"):
        show_front((run, other), Console(quiet=True))


def test_runs_by_different_recipes_share_a_front_with_a_mark(run, beside):
    console = Console(width=160, record=True, file=io.StringIO())
    show_front((run, beside("proxy.lr=0.5", manifest="feed")), console)
    assert "other: mind: the recipes differ (lr 0.001 against lr 0.5)" in console.export_text()


def test_a_run_of_another_version_that_cannot_be_read_says_which_version_wrote_it(run):
    text = (
        (run / "search.yaml").read_text().replace("proxy:", "proxy:\n  quantum: 3").replace(f"nas: {__version__}", "nas: 9.9.9")
    )
    (run / "search.yaml").write_text(text)
    with pytest.raises(NasError, match=rf"unknown key 'quantum'.* written by nas 9\.9\.9, this is {re.escape(__version__)}"):
        load(run)


@pytest.mark.parametrize("damage", [lambda b: b"not a database at all" * 50, lambda b: b[:5000] + b"\0" * 20000 + b[25000:]])
def test_a_damaged_record_is_said_to_be_and_left_as_it_is(run, damage):
    broken = damage((run / "study.db").read_bytes())
    (run / "study.db").write_bytes(broken)
    with pytest.raises(NasError, match=r"study\.db: cannot be read: .*Nothing was changed"):
        load(run)
    assert (run / "study.db").read_bytes() == broken


def test_a_record_that_is_being_written_is_waited_for(run, monkeypatch):
    monkeypatch.setattr(reading, "LOCKED_SECONDS", 0.1)
    with closing(sqlite3.connect(run / "study.db")) as writer:
        writer.execute("PRAGMA journal_mode=DELETE")
        writer.execute("BEGIN EXCLUSIVE")
        with pytest.raises(NasError, match="cannot be read: database is locked"):
            load(run)
        writer.execute("ROLLBACK")
        assert len(load(run))


def test_a_storage_of_the_users_own_tells_the_same_as_a_file(run, tiny, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(run / "study.db", tmp_path / "elsewhere" / "study.db")
    shutil.copytree(run, tmp_path / "run2" / "run")
    yaml = tmp_path / "run2" / "run" / "search.yaml"
    yaml.write_text(yaml.read_text().replace("search:\n", f"search:\n  storage: sqlite:///{tmp_path}/elsewhere/study.db\n"))
    (tmp_path / "run2" / "run" / "study.db").unlink()
    pd.testing.assert_frame_equal(load(tmp_path / "run2" / "run"), load(run), check_dtype=False)


def test_what_others_published_stands_in_a_table_of_its_own(tiny, tmp_path):
    settings = tiny("search.trials=1", "space.num_classes=1000", "baselines=[]", "constraints={}")
    study = Study(settings, open_folder(tmp_path / "run", settings), manifest_hash="feed")
    study.finish(study.propose().number, accuracy=0.5, seconds=1.0)
    study.close()
    console = Console(file=io.StringIO(), width=120)
    show_front((tmp_path / "run",), console, against="timm")
    text = console.file.getvalue()
    assert text.index("Pareto front of") < text.index("Published on ImageNet-1k") < text.index("share no axis")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("options", "message"),
    [({"against": "tim"}, "must be timm"), ({"output": "json"}, "can't hold"), ({}, "are of 1,000 classes")],
)
def test_other_opponents_are_refused(run, options, message):
    with pytest.raises(ConfigError, match=f"--against: .*{message}"):
        show_front((run,), Console(), **{"against": "timm", **options})


def test_the_hypervolume_of_a_table_or_its_front_is_the_tools_own(run):
    trials, search = load(run), read_run(run)[1]
    own = volumes(trials, search.objectives[1:], reference_costs(search))["hypervolume"].iloc[-1]
    assert 0 < own < 1
    assert hypervolume(trials) == pytest.approx(own) == hypervolume(front(trials))
    assert hypervolume(trials, reference={"macs": trials["macs"].max()}) != pytest.approx(own)


def test_a_table_holds_objects_and_a_file_of_it_text(run, tmp_path):
    trials = load(run)
    first = trials.iloc[0]
    assert isinstance(first["architecture"], Architecture) and isinstance(first["curve"], list)
    assert first["stages"] == first["architecture"].describe()
    assert list(trials)[:4] == [
        "trial",
        "state",
        "baseline",
        "accuracy",
    ]
    save(trials, tmp_path / "all.csv")
    again = pd.read_csv(tmp_path / "all.csv")
    assert Architecture.model_validate(json.loads(again["architecture"][0])) == first["architecture"]


def test_curves_are_a_row_an_epoch(run):
    table = curves(run)
    assert list(table) == ["run", "trial", "epoch", "accuracy", "loss", "train_loss", "lr", "seconds"]
    assert len(table) == 6 and set(table["accuracy"]) == {0.5} and set(table["epoch"]) == {1}
