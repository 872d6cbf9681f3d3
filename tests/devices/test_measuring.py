"""A space measured on this machine, as far as that does not depend on how fast it is."""

import threading
import time

import pytest
import torch
from filelock import FileLock
from torch import nn

from nas.devices import measure
from nas.devices.conditions import RUNTIMES, Conditions, conditions_in, conditions_of
from nas.devices.measure import alone_here, ready, seconds_of
from nas.devices.measuring import check_same_machine, differences, measured_space
from nas.devices.rounds import Budget
from nas.devices.runtimes import check_onnx_runtime, runtime_of
from nas.devices.sampling import informative
from nas.errors import ConfigError, NasError
from nas.models.reparam import deployed
from nas.run.settings.search import read_search
from tests.device_files import device_file

SPACE = read_search("tiny").space
RUNTIMES_HERE = ("torch", "onnxruntime", "onnxruntime-int8")


@pytest.mark.thorough
@pytest.mark.parametrize("runtime", RUNTIMES_HERE)
def test_a_space_is_measured_in_each_runtime(runtime, monkeypatch):
    monkeypatch.setattr("nas.devices.rounds.TOO_NOISY", 1e9)  # tests run beside others
    conditions = Conditions(runtime=runtime, image_size=32, batch=1, threads=1, warm_up=1)
    heard = []
    file = measured_space(
        SPACE,
        informative(SPACE, 10, seed=0),
        conditions,
        budget=Budget(rounds=5, seconds=1),
        on_round=lambda *a: heard.append(a),
    )
    assert len(file.networks) == 10 and heard
    assert all(n.low <= n.latency_ms <= n.high and n.peak_bytes is None for n in file.networks)
    assert file.machine["threads"] == 1 and ("onnxruntime" in file.machine) == runtime.startswith("onnxruntime")
    assert differences(file) == []


@pytest.mark.parametrize("runtime", RUNTIMES_HERE)
def test_a_runtime_runs_the_network_itself(runtime):
    network = deployed(informative(SPACE, 1, seed=0)[0], image_size=32, num_classes=10)
    with ready({"a": network}, Conditions(runtime=runtime, image_size=32, batch=2, threads=1)) as passes:
        out = passes["a"]()
        assert seconds_of(passes["a"], Conditions()) > 0
    logits = out[0] if isinstance(out, list) else out
    assert logits.shape == (2, 10)


def test_compiled_networks_run_what_torch_compiled(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda network: compiled.append(network) or network)
    with ready({"a": nn.Conv2d(3, 4, 1)}, Conditions(runtime="compile", image_size=8, batch=1)) as passes:
        assert passes["a"]().shape == (1, 4, 8, 8) and len(compiled) == 1


def test_two_measurements_do_not_run_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, "LOCK_FILE", tmp_path / "lock")
    held = FileLock(tmp_path / "lock")
    held.acquire()
    order = []

    def second():
        with alone_here():
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    thread.join(timeout=0.3)
    order.append("first")
    held.release()
    thread.join()
    assert order == ["first", "second"] and "waiting for another measurement" in capsys.readouterr().err


def test_one_that_never_ends_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "LOCK_FILE", tmp_path / "lock")
    monkeypatch.setattr(measure, "LOCK_SECONDS", 0)
    with FileLock(tmp_path / "lock"), pytest.raises(NasError, match="another measurement has been running"), alone_here():
        pass


def test_another_machine_or_another_library_is_told_apart():
    file = device_file(SPACE)
    assert any("model is" in line and "made up" in line for line in differences(file))
    with pytest.raises(NasError, match=r"devices/laptop\.json: is of another device than this one: model is"):
        check_same_machine(file, where="devices/laptop.json")


def test_a_device_outside_is_never_this_one():
    file = device_file(
        SPACE, conditions=Conditions(runtime="outside", image_size=32, batch=1), machine={"device": "outside", "model": "phone"}
    )
    assert differences(file) == ["measured with a tool of its own (outside phone)"]
    with pytest.raises(NasError, match="measured with a tool of your own"), ready({"a": nn.Conv2d(3, 4, 1)}, file.conditions):
        pass


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"runtime": "tensorrt"}, "runtime: unknown runtime 'tensorrt'"),
        ({"cuda_graphs": True}, "cuda_graphs: needs the runtime torch on a CUDA device, but got torch on cpu"),
        (
            {"runtime": "onnxruntime", "dtype": "bfloat16"},
            "dtype: of onnxruntime must be float32, contiguous",
        ),
        ({"runtime": "onnxruntime", "channels_last": True}, "but got float32, channels_last"),
        ({"batch": 0}, "batch: must be greater than or equal to 1"),
    ],
)
def test_conditions_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ConfigError) as refused:
        conditions_of(settings, where="nas devices measure")
    assert message in str(refused.value)


def test_a_provider_that_is_not_there_is_named():
    with pytest.raises(NasError, match="needs CUDAExecutionProvider, but this onnxruntime has"):
        check_onnx_runtime(Conditions(runtime="onnxruntime", device="cuda"))


def test_a_record_from_before_runtimes_had_names_is_read():
    old = {"device": "cpu", "batch": 4, "dtype": "float32", "image_size": 32, "channels_last": True, "compile": True}
    assert conditions_in(old).in_words == "batch 4, 32 px, float32, channels_last, compile"
    assert conditions_in({**old, "compile": False}).runtime == "torch"


@pytest.mark.parametrize("name", RUNTIMES)
def test_every_runtime_of_the_table_is_there(name):
    assert callable(runtime_of(name))
    assert Conditions(runtime=name).in_words.endswith(name)


def test_the_time_in_which_another_job_has_the_core_is_left_out_of_one_threads():
    assert seconds_of(lambda: time.sleep(0.05), Conditions(threads=1)) < 0.02
    assert seconds_of(lambda: time.sleep(0.05), Conditions(threads=2)) > 0.045
