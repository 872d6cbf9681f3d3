"""The verb `nas devices` and what takes its files, from the command line."""

import json
import sys

import pytest

from nas.cli.main import main
from nas.devices.device_file import read_device_file
from nas.run.settings.search import read_search
from tests.device_files import device_file, known_ms

SPACE = read_search("tiny").space


def nas(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["nas", *map(str, args)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


@pytest.fixture
def laptop(tmp_path):
    device_file(SPACE).write(tmp_path / "laptop.json")
    return tmp_path / "laptop.json"


@pytest.mark.thorough
def test_a_space_is_measured_into_a_device_file_that_says_how_good_it_is(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("nas.devices.rounds.TOO_NOISY", 1e9)  # tests run beside others
    out = tmp_path / "devices" / "here.json"
    asked = ["--networks", 12, "--threads", 1, "--minutes", 0.1, "--out", out, "--set", "baselines=[poolformer_s12]"]
    assert nas(monkeypatch, "devices", "measure", "tiny", *asked) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "12 networks of" in said and "Kendall tau" in said and "MACs alone" in said and "batch 1, 32 px, float32" in said
    file = read_device_file(out)
    assert len(file.networks) == 12 and file.conditions.threads == 1
    assert file.networks[0].architecture.describe() == "P2·64 P2·128 P6·320 P2·512"  # the baseline


@pytest.mark.thorough
def test_a_phone_is_asked_and_learnt(monkeypatch, tmp_path, capsys):
    folder = tmp_path / "phone"
    assert nas(monkeypatch, "devices", "ask", "tiny", "--networks", 14, "--out", folder) == 0
    assert "nas devices learn" in capsys.readouterr().out.replace("python -m ", "")
    networks = json.loads((folder / "networks.json").read_text())["networks"]
    from nas.space.architecture import Architecture

    rows = [f"{name},{known_ms(Architecture.model_validate(plain), SPACE)}" for name, plain in networks.items()]
    (tmp_path / "measured.csv").write_text("\n".join(["file,latency_ms", *rows[:-1]]))
    out = tmp_path / "phone.json"
    assert nas(monkeypatch, "devices", "learn", folder, tmp_path / "measured.csv", "--out", out, "--name", "a phone") == 0
    said = capsys.readouterr().out
    assert "no time of 013.onnx; the rest will do" in said and "outside a phone" in said
    assert len(read_device_file(out).networks) == 13
    assert nas(monkeypatch, "devices", "show", out) == 0
    assert "outside a phone" in capsys.readouterr().out


@pytest.mark.thorough
def test_a_table_that_is_refused_leaves_nothing(monkeypatch, tmp_path, capsys):
    folder = tmp_path / "phone"
    assert nas(monkeypatch, "devices", "ask", "tiny", "--networks", 14, "--out", folder) == 0
    assert nas(monkeypatch, "devices", "learn", folder, folder / "measured.csv", "--out", tmp_path / "phone.json") == 2
    error = capsys.readouterr().err
    assert "must hold the times of at least 12 networks, but holds 0 of 14" in error and "Traceback" not in error
    assert not (tmp_path / "phone.json").exists()


def test_one_designs_latency_is_foretold(monkeypatch, tmp_path, capsys, laptop):
    (tmp_path / "mine.json").write_text(json.dumps(device_file(SPACE).networks[0].architecture.to_dict()))
    size = ["--image-size", 32, "--num-classes", 10]
    assert nas(monkeypatch, "cost", tmp_path / "mine.json", *size, "--device-file", laptop) == 0
    assert "ms laptop" in capsys.readouterr().out
    assert nas(monkeypatch, "cost", tmp_path / "mine.json", *size, "--device-file", laptop, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["latency_ms@laptop:low"] < said["latency_ms@laptop"] < said["latency_ms@laptop:high"]
    assert nas(monkeypatch, "cost", "poolformer_s12", "--device-file", laptop) == 2
    assert "was measured at 32 px and 10 classes" in capsys.readouterr().err
    assert nas(monkeypatch, "cost", "riformer_s12_train", *size, "--device-file", laptop) == 2
    assert "cannot foretell this network: none of the 40 measured ones has" in capsys.readouterr().err


@pytest.mark.thorough
@pytest.mark.parametrize(
    "args, message",
    [
        (["devices", "measure", "tiny", "--out", "x.json", "--runtime", "tflite"], "runtime: unknown runtime 'tflite'"),
        (["devices", "measure", "tiny", "--out", "x.json", "--device", "cuda:7"], "--device cuda:7: no such CUDA device here"),
        (["devices", "measure", "tiny", "--out", "x.json", "--runtime", "outside"], "runtime outside: such times are measured"),
        (["devices", "show", "missing.json"], "missing.json: cannot be read"),
        (["latency", "poolformer_s12", "--device-file", "LAPTOP"], "--device-file: needs a run's folder"),
    ],
)
def test_what_a_user_can_mend_is_one_message(monkeypatch, capsys, laptop, args, message):
    assert nas(monkeypatch, *(laptop if word == "LAPTOP" else word for word in args)) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
