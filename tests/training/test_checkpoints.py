"""A checkpoint is for the training that wrote it, and costs a training little."""

import pytest
import torch

from nas.errors import NasError
from nas.training import checkpoints
from nas.training.checkpoints import Keeper, read_checkpoint, write_checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "17.pt"


def test_tensors_and_values_come_back(path):
    write_checkpoint(path, {"weights": torch.arange(3), "epoch": 2})
    found = read_checkpoint(path)
    assert found["epoch"] == 2 and torch.equal(found["weights"], torch.arange(3))
    assert [p.name for p in path.parent.iterdir()] == ["17.pt"]


def test_a_damaged_file_is_refused_by_name(path):
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(NasError, match=r"17\.pt: must be a checkpoint"):
        read_checkpoint(path)


def test_another_training_finds_nothing(path):
    Keeper(path, {"seed": 1}, must={1}).keep({"epoch": 1}, epoch=1)
    assert Keeper(path, {"seed": 1}, must={}).checkpointed()["epoch"] == 1
    assert Keeper(path, {"seed": 2}, must={}).checkpointed() is None


def test_a_damaged_checkpoint_means_a_new_start_that_says_why(path):
    path.write_bytes(b"not a checkpoint")
    keeper = Keeper(path, {}, must={})
    assert keeper.checkpointed() is None and "must be a checkpoint" in keeper.trouble


def test_a_disk_that_is_full_does_not_end_a_training(path, monkeypatch):
    def full(*_):
        raise NasError("no space left")

    monkeypatch.setattr(checkpoints, "write_checkpoint", full)
    keeper = Keeper(path, {}, must={3})
    keeper.keep({}, epoch=3)
    assert keeper.trouble == "no space left"


def test_epochs_that_must_be_are_kept_and_others_as_far_as_they_cost_little(path, monkeypatch):
    now, written = [0.0], []
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[0])

    def write(_, content):
        now[0] += 1.0
        written.append(content["epoch"])

    monkeypatch.setattr(checkpoints, "write_checkpoint", write)
    keeper = Keeper(path, {}, must={4})
    for epoch in range(1, 120):
        keeper.keep({"epoch": epoch}, epoch=epoch)
        now[0] += 1.0
    assert written[:3] == [1, 4, 54]


def test_without_a_path_nothing_is_kept_or_found():
    keeper = Keeper(None, {}, must={1})
    keeper.keep({}, epoch=1)
    assert keeper.checkpointed() is None
