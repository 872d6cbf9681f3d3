"""Device files: what they foretell of a made-up device, how they are written and read, and what they refuse."""

import json
import random

import numpy as np
import pytest
from scipy.stats import kendalltau

from nas.devices.device_file import DeviceFile, check_covers, check_target, foretold_by, read_device_file
from nas.errors import ConfigError
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture
from tests.device_files import device_file, known_ms


@pytest.fixture(scope="module")
def space():
    return read_search("tiny").space


@pytest.fixture(scope="module")
def file(space) -> DeviceFile:
    return device_file(space)


def others(space, number=60):
    rng = random.Random(99)
    return [random_architecture(space, rng) for _ in range(number)]


def test_networks_that_were_not_measured_are_foretold_better_than_by_macs(file, space):
    drawn = others(space)
    truth = np.array([known_ms(a, space) for a in drawn])
    guesses = np.array([file.estimate(a).value for a in drawn])
    macs = [space.cost(a).macs for a in drawn]
    assert np.median(np.abs(guesses / truth - 1)) < 0.03
    assert kendalltau(guesses, truth)[0] > 0.93 > kendalltau(macs, truth)[0]
    assert file.quality.tau > 0.9 and file.quality.macs_tau < file.quality.tau


def test_nine_in_ten_lie_inside_their_intervals(file, space):
    estimates = [(file.estimate(a), known_ms(a, space)) for a in others(space, 100)]
    assert all(e.low <= e.value <= e.high for e, _ in estimates)
    assert np.mean([e.low <= ms <= e.high for e, ms in estimates]) > 0.85


def test_it_is_read_as_it_was_written(file, space, tmp_path):
    file.write(tmp_path / "there" / "laptop.json")
    again = read_device_file(tmp_path / "there" / "laptop.json")
    assert again == file and again.key == file.key
    assert again.estimate(others(space)[0]) == file.estimate(others(space)[0])


def test_other_measurements_make_another_key(file, space):
    assert device_file(space, seed=1).key != file.key


@pytest.mark.parametrize(
    "change, message",
    [
        ({"schema_version": 2}, "schema_version must be 1, but got 2"),
        ({"schema_version": None}, "schema_version must be 1, but got None"),
        ({"networks": []}, "networks: must hold at least 8 entries"),
        ({"quality": 3}, "quality: "),
        ({"machine": {}}, "machine.device: must be text that says which machine it is, but got None"),
        ({"predictor": {"variances": {}, "noise": 0.1}}, "predictor.variances: must hold a number for each level of terms"),
        ({"predictor": {"variances": {"9": 1.0}, "noise": 0.1}}, "predictor.variances: must hold a number for each level"),
        ({"typo": 3}, "unknown key 'typo'"),
        ({"conditions": {"runtime": "tflite"}}, "conditions.runtime: unknown runtime 'tflite'"),
        ({"conditions": {"batch": 0}}, "conditions.batch: must be greater than or equal to 1"),
        ({"num_classes": "many"}, "num_classes: must be a whole number"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_the_file(file, tmp_path, change, message):
    path = tmp_path / "laptop.json"
    path.write_text(json.dumps({**file.to_dict(), **change}))
    with pytest.raises(ConfigError, match=r"laptop\.json") as refused:
        read_device_file(path)
    assert message in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}'])
def test_what_is_no_device_file_is_told_so(tmp_path, text):
    (tmp_path / "laptop.json").write_text(text)
    with pytest.raises(ConfigError, match=r"laptop\.json: is (no device file|damaged)"):
        read_device_file(tmp_path / "laptop.json")


@pytest.mark.parametrize("ms", [0, -1, float("nan"), "fast", 1e308])
def test_a_time_that_is_none_is_refused(file, tmp_path, ms):
    plain = file.to_dict()
    plain["networks"][3]["latency_ms"] = ms
    (tmp_path / "laptop.json").write_text(json.dumps(plain))
    with pytest.raises(ConfigError, match=r"laptop.json: networks.*latency_ms"):
        read_device_file(tmp_path / "laptop.json")


def test_a_block_that_was_never_measured_is_named(file, space):
    strange = Architecture(
        stages=({"mixer": "dwconv", "depth": 1, "width": 16}, {"mixer": "pool", "depth": 1, "width": 16, "pool_size": 7})
    )
    assert file.unseen(others(space)) == []
    assert {"dwconv", "dwconv with kernel_size 3", "pool with pool_size 7"} <= set(file.unseen([strange]))


def test_it_is_less_sure_of_a_block_that_it_never_saw(file, space):
    usual = others(space, 1)[0]
    strange = usual.model_copy(
        update={"stages": (usual.stages[0].model_copy(update={"mixer": "dwconv", "kernel_size": 3}), *usual.stages[1:])}
    )
    width = lambda a: (file.estimate(a).high - file.estimate(a).low) / file.estimate(a).value  # noqa: E731
    assert width(strange) > width(usual)


def test_a_file_of_another_space_or_resolution_is_refused(file, space):
    check_covers(file, space, where="devices.laptop")
    with pytest.raises(ConfigError, match=r"devices\.laptop: was measured at 32 px and 10 classes, but asked about 64 px"):
        check_covers(file, space.model_copy(update={"image_size": 64}), where="devices.laptop")
    wider = read_search("tiny", settings=["space.stages.1.mixer=[pool, dwconv]"]).space
    with pytest.raises(ConfigError, match=r"devices\.laptop: was measured for another space: .* has dwconv"):
        check_covers(file, wider, where="devices.laptop")


def test_one_network_is_foretold_beside_what_is_counted(file, space, tmp_path):
    file.write(tmp_path / "laptop.json")
    architecture = others(space)[0]
    counted = space.cost(architecture)
    both = foretold_by(architecture, counted, tmp_path / "laptop.json", image_size=32, num_classes=10)
    assert both.macs == counted.macs and both.of("latency_ms@laptop") == file.estimate(architecture).value
    assert both.at_most("latency_ms@laptop") > both.of("latency_ms@laptop") and both.at_most("macs") == both.of("macs")
    with pytest.raises(ConfigError, match="but asked about 224 px and 1000 classes"):
        foretold_by(architecture, counted, tmp_path / "laptop.json", image_size=224, num_classes=1000)


@pytest.mark.parametrize("name", ["notes.json", "folder", "notes.json/laptop.json"])
def test_what_is_no_device_file_is_never_overwritten(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.json").write_text('{"my": "notes"}')
    with pytest.raises(ConfigError, match=r"--out .*Choose another --out"):
        check_target(tmp_path / name)
    assert (tmp_path / "notes.json").read_text() == '{"my": "notes"}'


def test_an_older_device_file_may_be_replaced_and_a_folder_made(file, tmp_path):
    file.write(tmp_path / "laptop.json")
    check_target(tmp_path / "laptop.json")
    check_target(tmp_path / "devices" / "new.json")
