"""Devices that run none of this: files to time elsewhere, and the times read back."""

import json

import numpy as np
import onnxruntime
import pytest

from nas.devices import outside
from nas.devices.outside import FEWEST_ROWS, ask, learn
from nas.devices.sampling import informative
from nas.errors import ConfigError, NasError
from nas.run.settings.search import read_search
from tests.device_files import known_ms

SPACE = read_search("tiny").space
NUMBER = 16


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """A folder of networks, and their times on the made-up device."""
    folder = tmp_path_factory.mktemp("asked") / "phone"
    architectures = informative(SPACE, NUMBER, seed=0)
    ask(SPACE, architectures, folder, batch=1)
    return folder, [known_ms(a, SPACE) for a in architectures]


def table(tmp_path, rows):
    path = tmp_path / "measured.csv"
    path.write_text("file,latency_ms\n" + "\n".join(rows) + "\n")
    return path


def rows_of(times):
    return [f"{i:03}.onnx,{ms}" for i, ms in enumerate(times)]


@pytest.mark.thorough
def test_each_file_computes_images_of_the_batch(asked):
    session = onnxruntime.InferenceSession(str(asked[0] / "000.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {"images": np.zeros((1, 3, 32, 32), np.float32)})
    assert logits.shape == (1, 10)


def test_a_table_to_fill_in_lies_beside_them(asked):
    lines = (asked[0] / "measured.csv").read_text().splitlines()
    assert lines[0] == "file,latency_ms" and len(lines) == NUMBER + 1 and lines[1] == "000.onnx,"


def test_times_measured_elsewhere_make_a_device_file(asked, tmp_path):
    folder, times = asked
    learnt = learn(folder, table(tmp_path, rows_of(times)), device="a phone")
    assert learnt.missing == [] and learnt.file.machine == {"device": "outside", "model": "a phone"}
    assert learnt.file.conditions.runtime == "outside" and len(learnt.file.networks) == NUMBER
    assert [n.latency_ms for n in learnt.file.networks] == times


def test_what_is_missing_is_listed_and_the_rest_will_do(asked, tmp_path):
    folder, times = asked
    rows = [*rows_of(times)[:-2], f"{NUMBER - 2:03}.onnx,"]
    assert learn(folder, table(tmp_path, rows), device="a phone").missing == ["014.onnx", "015.onnx"]


def test_too_few_times_are_refused(asked, tmp_path):
    folder, times = asked
    with pytest.raises(ConfigError, match=rf"at least {FEWEST_ROWS} networks, but holds 5 of {NUMBER}; missing: 005.onnx"):
        learn(folder, table(tmp_path, rows_of(times)[:5]), device="a phone")


@pytest.mark.parametrize(
    "row, message",
    [
        ("003.onnx,2.0", "line 18: 003.onnx stands twice"),
        ("016.onnx,2.0", "'016.onnx' is none of the files that were asked about"),
        ("003.onnx,fast", "003.onnx: latency_ms must be a number, but got 'fast'"),
        ("003.onnx,-2", "003.onnx: latency_ms must be above 0 and at most 10,000,000, but got -2"),
        ("003.onnx,0", "003.onnx: latency_ms must be above 0"),
        ("003.onnx,nan", "003.onnx: latency_ms must be above 0"),
        ("003.onnx,inf", "003.onnx: latency_ms must be above 0 and at most 10,000,000, but got inf"),
        ("003.onnx,1_0", "003.onnx: latency_ms must be a number, but got '1_0'"),
    ],
)
def test_a_row_that_is_no_time_is_refused_by_name(asked, tmp_path, row, message):
    folder, times = asked
    rows = rows_of(times)
    rows = [*rows, row] if "twice" in message or "none of" in message else [*rows[:3], row, *rows[4:]]
    with pytest.raises(ConfigError, match=r"measured\.csv: not every row is a time") as refused:
        learn(folder, table(tmp_path, rows), device="a phone")
    assert message in str(refused.value)


def test_a_table_without_its_columns_is_refused(asked, tmp_path):
    path = tmp_path / "measured.csv"
    path.write_text("name,ms\n000.onnx,3\n")
    with pytest.raises(ConfigError, match="must have the columns file and latency_ms, but has name, ms"):
        learn(asked[0], path, device="a phone")


def test_a_field_longer_than_any_time_is_refused(asked, tmp_path):
    with pytest.raises(ConfigError, match="must be a CSV table, but: field larger than field limit"):
        learn(asked[0], table(tmp_path, [f"000.onnx,{'9' * 200_000}"]), device="a phone")


def test_a_folder_that_nothing_was_asked_in_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no networks\.json"):
        learn(tmp_path, tmp_path / "measured.csv", device="a phone")


def test_a_folder_with_files_is_left_as_it_is(tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(ConfigError, match="must be empty or new"):
        ask(SPACE, [], tmp_path, batch=1)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_without_onnx_runtime_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.devices.runtimes.find_spec", lambda name: None)
    with pytest.raises(
        NasError, match=r"onnx and onnxruntime are not installed. Install the extra: pip install 'metaformer-nas\[onnx\]'"
    ):
        ask(SPACE, informative(SPACE, 2, seed=0), tmp_path / "phone", batch=1)
    assert not (tmp_path / "phone").exists()


def test_the_networks_stand_in_json_with_the_space(asked):
    said = json.loads((asked[0] / outside.NETWORKS_FILE).read_text())
    assert len(said["networks"]) == NUMBER and said["space"]["image_size"] == 32
