"""Other tools' live views: what TensorBoard and MLflow are told of a search, and what optuna-dashboard finds in its record."""

import os
import re
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest

from nas.errors import NasError
from nas.run.folder import RunFolder, open_folder
from nas.search import loggers
from nas.search.loggers import Logger, check_packages, opened_loggers
from nas.search.study import Study
from nas.space.reference import design
from nas.training.curve import Begin, Outcome, packed
from tests.device_files import device_file
from tests.studies import epoch

ROOT = Path(__file__).parents[2]


class Heard:
    """A callback that writes down what it is told, or breaks."""

    def __init__(self, *, breaks: bool = False):
        self.told, self.breaks = [], breaks

    def log_trial_start(self, trial):
        if self.breaks:
            raise ConnectionError("no server")
        self.told.append(("begin", str(trial), trial.config["design"], trial.config["macs"]))

    def log_trial_result(self, step, trial, result):
        self.told.append((step, str(trial), result))

    def log_trial_end(self, trial, failed):
        self.told.append(("end", str(trial), failed))

    def on_experiment_end(self, trials):
        pass


@pytest.fixture
def logger(tiny, tmp_path):
    def made(callback) -> Logger:
        return Logger("mlflow", callback, tiny(), open_folder(tmp_path / "run", tiny()))

    return made


TRIAL = SimpleNamespace(
    trial_id="a1", config={"architecture": design("poolformer_s12").to_dict(), "weights": "/run/weights/17.safetensors"}
)


def test_a_logger_hears_of_a_trial_by_its_number_with_its_design_cost_and_curve(logger, tiny):
    heard = Heard()
    passing = logger(heard)
    passing.log_trial_start(TRIAL)
    passing.log_trial_result(1, TRIAL, packed(Begin(curve=())))
    passing.log_trial_result(2, TRIAL, packed(epoch(1, 0.25)))
    passing.log_trial_result(3, TRIAL, packed(Outcome(accuracy=0.5, seconds=3.0)))
    passing.log_trial_end(TRIAL)
    passing.close()
    macs = tiny().space.cost(design("poolformer_s12")).macs
    others = {"train_loss": 1.0, "lr": 0.1, "seconds": 2.0, "reading_seconds": 0.0, "steps": 1, "pieces": 1}
    assert heard.told == [
        ("begin", "trial 17", "P2·64 P2·128 P6·320 P2·512", macs),
        (1, "trial 17", {"accuracy": 0.25, **others, "training_iteration": 1}),
        # after the proxy's three epochs
        (3, "trial 17", {"final_accuracy": 0.5, "final_seconds": 3.0, "training_iteration": 3}),
        ("end", "trial 17", False),
    ]


def test_a_devices_cost_has_a_name_that_mlflow_takes(tiny, tmp_path):
    search = tiny()
    file = device_file(search.space)
    heard = []
    callback = SimpleNamespace(log_trial_start=lambda shown: heard.append(shown.config), on_experiment_end=list)
    on_laptop = search.model_copy(update={"devices": {"laptop": file}})
    passing, architecture = Logger("mlflow", callback, on_laptop, RunFolder(tmp_path)), file.networks[0].architecture
    config = {"architecture": architecture.to_dict(), "weights": "/1.safetensors"}
    passing.log_trial_start(SimpleNamespace(trial_id="a1", config=config))
    passing.close()
    assert heard[0]["latency_ms.laptop"] == file.estimate(architecture).value
    assert all(re.fullmatch(r"[\w\-. /]+", name) for name in heard[0])


def test_a_logger_that_breaks_is_said_once_and_the_search_goes_on(logger, capsys):
    heard = Heard(breaks=True)
    passing = logger(heard)
    passing.log_trial_start(TRIAL)
    passing.log_trial_result(2, TRIAL, packed(epoch(1, 0.25)))
    passing.log_trial_end(TRIAL)
    passing.close()
    assert heard.told == []
    assert capsys.readouterr().err.count("mlflow is away, the search goes on and tries it again now and then: no server") == 1


class Unwell(BaseHTTPRequestHandler):
    """A server that hangs, or answers with a code that helps nobody."""

    def do_GET(self):
        if self.server.code is None:
            self.server.released.wait(60)
        else:
            self.send_error(self.server.code)

    do_POST = do_GET

    def log_message(self, *arguments):
        """Nothing."""


@pytest.fixture
def unwell():
    """Starts such a server; its URL."""
    servers = []

    def start(code: int | None) -> str:
        servers.append(server := ThreadingHTTPServer(("127.0.0.1", 0), Unwell))
        server.code, server.released, server.daemon_threads = code, threading.Event(), True
        server.block_on_close = False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.released.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("code", [None, 500, 503, 429, 404])
def test_a_server_of_mlflow_that_hangs_or_fails_holds_nothing(code, unwell, tiny, tmp_path, monkeypatch, capsys):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", unwell(code))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", loggers.SHORT_WAITS["MLFLOW_HTTP_REQUEST_MAX_RETRIES"])
    with opened_loggers(tiny("search.log=mlflow"), open_folder(tmp_path / "run", tiny())) as (passing,):
        opened = time.monotonic()
        passing.setup()
        passing.log_trial_start(TRIAL)
        passing.log_trial_result(2, TRIAL, packed(epoch(1, 0.25)))
        passing.log_trial_end(TRIAL)
        assert time.monotonic() - opened < 0.5
    assert time.monotonic() - opened < 5
    assert "mlflow is away, the search goes on" in capsys.readouterr().err


def test_what_a_user_says_of_mlflows_waits_holds(tiny, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    with opened_loggers(tiny("search.log=mlflow"), open_folder(tmp_path / "run", tiny())):
        assert [os.environ[name] for name in loggers.SHORT_WAITS] == ["77", "3"]


def test_a_missing_package_is_said_before_the_search_with_what_to_install(monkeypatch):
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    with pytest.raises(NasError, match=r"mlflow needs its package\. Install it: pip install 'metaformer-nas\[live\]'"):
        check_packages(("mlflow",))
    check_packages(())


def test_the_setting_takes_one_name_or_several_and_no_other(tiny):
    assert tiny("search.log=tensorboard").search.log == ("tensorboard",)
    assert tiny("search.log=[tensorboard, mlflow]").search.log == ("tensorboard", "mlflow")
    with pytest.raises(NasError, match=r"search\.log"):
        tiny("search.log=comet")


def test_wandb_without_a_key_is_said_before_the_search_unless_it_is_offline(monkeypatch, tmp_path):
    pytest.importorskip("wandb")
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setattr(loggers, "_has_wandb_key", lambda: False)
    with pytest.raises(NasError, match=r"wandb must know who you are, but has no key.*WANDB_MODE=offline"):
        check_packages(("wandb",))
    monkeypatch.setenv("WANDB_MODE", "offline")
    check_packages(("wandb",))


@pytest.mark.slow
def test_wandb_offline_leaves_a_file_a_trial_with_its_design_and_curve(tmp_path):
    root = tmp_path / "run"
    command = [sys.executable, "-m", "nas", "search", "tiny", "--trials", "2", "--out", str(root), "--workers", "1"]
    environment = {**os.environ, "WANDB_MODE": "offline"}
    subprocess.run([*command, "--set", "search.log=wandb"], cwd=tmp_path, env=environment, check=True)
    files = sorted((root / "wandb").glob("offline-run-*/*.wandb"))
    assert [file.stem[-2:] for file in files] == ["-0", "-1"]
    for file in files:
        assert all(word in file.read_bytes() for word in (b"design", b"stage1.mixer", b"train_loss", b"final_accuracy"))


def test_optuna_dashboard_finds_objectives_by_name_and_a_readable_design(tiny, tmp_path):
    folder = open_folder(tmp_path / "run", tiny())
    study = Study(tiny(), folder, manifest_hash="feed")
    proposal = study.propose()
    study.finish(proposal.number, accuracy=0.5, seconds=1.0)
    study.close()
    seen = optuna.load_study(study_name="tiny", storage=f"sqlite:///{folder.study_db}")
    assert seen.metric_names == ["accuracy", "macs"]
    assert seen.trials[proposal.number].user_attrs["design"] == proposal.architecture.describe()


@pytest.mark.slow
def test_tensorboard_and_mlflow_show_every_trials_curve(tmp_path):
    from mlflow.tracking import MlflowClient
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    root = tmp_path / "run"
    command = [sys.executable, "-m", "nas", "search", "search_spaces/tiny.yaml", "--trials", "2", "--out", str(root)]
    subprocess.run([*command, "--workers", "1", "--set", "search.log=[tensorboard, mlflow]"], cwd=ROOT, check=True)
    client = MlflowClient(f"sqlite:///{root / 'mlflow.db'}")
    runs = {r.info.run_name: r for r in client.search_runs([client.get_experiment_by_name("tiny").experiment_id])}
    assert set(runs) == {"trial 0", "trial 1"}
    for name, run in runs.items():
        curve = EventAccumulator(str(root / "tensorboard" / name)).Reload().Scalars("ray/tune/accuracy")
        history = client.get_metric_history(run.info.run_id, "accuracy")
        assert [(e.step, e.value) for e in curve] == [(m.step, pytest.approx(m.value)) for m in history]
        assert run.data.params["design"] and len(history) == int(run.data.metrics["training_iteration"])
