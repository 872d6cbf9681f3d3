"""The command line as a user meets it: what it prints, its exit codes, and that a wrong word never leaves a traceback."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from nas.cli.app import again, as_settings
from nas.cli.main import app, run_reporting
from nas.config.layers import with_settings
from nas.terminal import printable

ROOT = Path(__file__).parents[2]
TINY = str(ROOT / "search_spaces" / "tiny.yaml")
RETRAIN = ["retrain", "poolformer_s12", "--recipe", "digits_quick", "--out", "x"]
VERBS = [command.callback.__name__.rstrip("_").replace("_", "-") for command in app.registered_commands]


@pytest.fixture
def nas(capsys, monkeypatch):
    """Runs a verb in this process; exit code, what it printed, what it complained of."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas", *arguments])
        with pytest.raises(SystemExit) as ended:
            run_reporting(app)
        out, err = capsys.readouterr()
        return ended.value.code, out, err

    return run


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_shows_an_example(nas, verb):
    code, out, _ = nas(verb, "--help")
    assert code == 0
    assert f"Example: nas {verb}" in " ".join(out.split())


def test_cost_prints_the_papers_figures_as_json(nas):
    code, out, _ = nas("cost", "poolformer_s12", "--json")
    assert code == 0
    found = json.loads(out)
    assert list(found) == ["name", "image_size", "num_classes", "params", "frozen_params", "macs", "activation_bytes"]
    assert (round(found["params"] / 1e6, 1), round(found["macs"] / 1e9, 1)) == (11.9, 1.8)


def test_space_prints_size_share_and_estimate(nas):
    code, out, _ = nas("space", TINY)
    assert code == 0
    assert "2,304 architectures" in out and "feasible:" in out and "estimated cost: 8 trainings" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["space", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file or directory"),
        (["space", str(ROOT)], "cannot be read: Is a directory"),
        (["space", TINY, "--set", "constraints.macs.max=10"], "the space reaches"),
        (["space", TINY, "--set", "serach.trials=3"], "unknown key 'serach'; did you mean search"),
        (["space", TINY, "--set", "search.trials"], "must be a dotted path and a value"),
        (["space", TINY, "--set", "search.learn_from=[nowhere]"], "search.learn_from: must be folders of runs"),
        (["cost", "poolformer_s13"], "unknown design 'poolformer_s13'; did you mean poolformer_s"),
        (["cost", "caformer_b36", "--image-size", "16"], "an image of 16 px is too small for 4 stages"),
        (["cost", "no/such.json"], "no/such.json: cannot be read"),
        (["cost", "no/run:3"], "no/run: is no run"),
        (["front", "no/run"], "no/run: is no run"),
        (["export", "no/run", "--out", "x"], "is neither a run"),
        (["export", "no/run", "--trial", "3", "--out", "x"], "is no run"),
        (["export", "no/run", "--out", "x", "--push", "mine"], "--push must be ORG/NAME"),
        (["retrain", "poolformer_s12", "--recipe", "no.yaml", "--out", "x"], "no.yaml: cannot be read"),
        (["retrain", "no/run", "--knee", "--recipe", "digits_quick", "--out", "x"], "no/run: is no run"),
        ([*RETRAIN, "--front", "--trial", "3"], "--trial and --front: one choice at a time"),
        (["retrain", "poolformer_s12", "--recipe", "digit_quick", "--out", "x"], "did you mean digits_quick"),
        ([*RETRAIN, "--device", "gpu"], "must be auto, cpu, cuda"),
        ([*RETRAIN, "--parallel", "2"], "must stand with --front"),
        ([*RETRAIN, "--set", "optimizer=adamm"], "unknown optimizer"),
        ([*RETRAIN, "--set", "classes=11"], "must have at least 11"),
        (["search", TINY, "--trials", "0"], "search.trials: must be greater than or equal to 1, but got 0"),
        (["search", TINY, "--data", "/no/such/folder"], "/no/such/folder is none of these"),
        (["search", TINY, "--data", "tourch/cifar10"], "is none of these"),
        (["search", TINY, "--address", "127.0.0.1:9"], "resources.address 127.0.0.1:9: nobody answers there"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(nas, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = nas(*arguments)
    assert code == 2
    assert message in err and err.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_an_unknown_verb_and_a_missing_argument_exit_with_2(nas):
    assert nas("serch")[0] == 2
    assert nas("cost")[0] == 2


def _folder_of_images(root: Path, *, classes: int = 2, images: int = 12, size: int = 40) -> Path:
    for c in range(classes):
        (root / f"c{c}").mkdir(parents=True)
        for i in range(images):
            Image.new("RGB", (size, size), (100 * c, 10 * i, 0)).save(root / f"c{c}" / f"{i}.png")
    return root


def test_a_class_without_images_is_refused_by_name(nas, tmp_path):
    data = _folder_of_images(tmp_path / "data")
    (data / "empty").mkdir()
    code, _, err = nas("search", TINY, "--data", str(data), "--out", str(tmp_path / "run"))
    assert code == 2 and "'empty'" in err
    assert not (tmp_path / "run").exists()


def test_unreadable_images_above_the_stated_share_are_refused_and_listed(nas, tmp_path):
    data = _folder_of_images(tmp_path / "data")
    for i in range(6):
        (data / "c0" / f"{i}.png").write_bytes(b"broken")
    settings = ["--set", "proxy.images_per_class=null"]
    code, _, err = nas("search", TINY, "--data", str(data), "--out", str(tmp_path / "run"), *settings)
    assert code == 2 and "c0/" in err and re.search(r"\b6\b", err)
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_search_is_refused_with_the_difference_before_anything_is_trained(nas, tiny, tmp_path):
    from nas.run.folder import open_folder

    open_folder(tmp_path, tiny())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    code, _, err = nas("search", TINY, "--out", str(tmp_path), "--seed", "3")
    assert code == 2 and "search.seed: 0 in the run, now 3" in err
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_both_ways_to_call_it_work_from_a_shell():
    for command in (["-m", "nas", "--help"], ["run_search.py", "--help"]):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True)
        assert "search" in done.stdout and done.stderr == ""


@pytest.mark.slow
def test_a_found_network_is_exported_retrained_and_exported_again(nas, tmp_path):
    run, again = tmp_path / "run", tmp_path / "again"
    assert nas("search", TINY, "--trials", "3", "--out", str(run), "--set", "proxy.images_per_class=30")[0] == 0
    code, out, _ = nas("front", str(run), "--json")
    best = max(json.loads(out), key=lambda row: row["accuracy"])["trial"]
    assert nas("export", str(run), "--trial", str(best), "--out", str(tmp_path / "a"))[0] == 0
    recipe = str(ROOT / "experiments" / "recipes" / "retrain_digits.yaml")
    short = ["--set", "epochs=2", "--set", "warmup_epochs=1", "--out", str(again)]
    assert nas("retrain", str(run), "--trial", str(best), "--recipe", recipe, *short)[0] == 0
    assert nas("export", str(again), "--out", str(tmp_path / "b"))[0] == 0
    assert (tmp_path / "b" / "model.safetensors").exists()
    came_from = json.loads((tmp_path / "b" / "config.json").read_text())["metaformer"]["provenance"]
    assert (came_from["run"], came_from["trial"], came_from["split"]) == ("tiny", best, "test")
    code, _, err = nas("export", str(again), "--out", str(tmp_path / "b"))
    assert code == 2 and "exists" in err


def test_the_command_that_continues_can_be_pasted_and_holds_no_password(monkeypatch):
    storage = "postgresql://me:secret@host/db"
    arguments = ["run_search.py", "my space.yaml", "--set", "resources={cpu: 2}", "--storage", storage]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setattr(sys, "orig_argv", ["python", *arguments])
    expected = ["python", *arguments[:-1], storage.replace("secret", "***")]
    assert shlex.split(again()) == expected


# Text and paths from outside


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_flag_of_any_letters_is_the_setting_it_stands_for(text):
    assert with_settings({}, as_settings({"search.name": text})) == {"search": {"name": text}}


@pytest.mark.parametrize("name", ["a[/b].yaml", "[bold]x[/].yaml", "no\x1b[31mred.yaml", "\udce9.yaml", "a\u202eb.yaml"])
@pytest.mark.parametrize("verb", ["search", "space", "front", "report", "cost", "gradcam", "replicate", "calibrate"])
def test_names_with_markup_or_escapes_are_one_plain_message_in_every_verb(nas, verb, name):
    image = str(ROOT / "experiments" / "first_search" / "front.png")
    code, out, err = nas(verb, name, *([image] if verb == "gradcam" else []))
    assert code == 2
    assert "Traceback" not in err and "\x1b[31m" not in out + err
    assert printable(name).partition(".")[0].encode("ascii", "backslashreplace").decode()[:3] in err


@pytest.mark.parametrize(
    "arguments", [("--out", ""), ("--out=~nobody-of-that-name/x",), ("--out=caf\udce9",), ("--data=caf\udce9",)]
)
def test_a_path_that_cannot_be_meant_is_refused_before_any_work(nas, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, _, err = nas("search", "tiny", *arguments)
    assert code == 2 and "Traceback" not in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [("front", "~/run"), ("report", "~/run"), ("compare", "~/run", "~/run"), ("replicate", "~/run"), ("cost", "~/run:3"),
     ("export", "~/run", "--out=~/e"), ("retrain", "~/run", "--recipe", "~/r.yaml", "--out=~/o"), ("latency", "~/run:3"),
     ("space", "~/run.yaml"), ("gradcam", "~/run:3", "~/x.png"), ("calibrate", "~/run.yaml"), ("front", "~/run", "~/other")],
)  # fmt: skip
def test_every_path_may_begin_with_the_home_folder(nas, tmp_path, monkeypatch, arguments):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    code, _, err = nas(*arguments)
    assert code == 2 and str(tmp_path) in err
    assert not (tmp_path / "~").exists()
