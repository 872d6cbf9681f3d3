"""Processes that train one network together: alone one of one, and together like one."""

import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from nas.data.manifest import Images
from nas.errors import ConfigError, NasError
from nas.recipes.full import FullRecipe
from nas.training import processes
from nas.training.batches import InMemory
from nas.training.evaluation import evaluate
from nas.training.loop import fit
from tests.processes import in_processes

EXACT = FullRecipe(image_size=8, epochs=2, batch_size=16, crop_padding=0, warmup_epochs=0.5, lr=0.01, precision="float32")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3))


def images(number, *, seed=0):
    draw = np.random.default_rng(seed)
    return Images(draw.integers(0, 255, (number, 8, 8, 3), dtype=np.uint8), draw.integers(0, 3, number))


TRAIN, VALIDATION = images(53), images(21, seed=1)


def trained(recipe=EXACT):
    model = network()
    curve = fit(model, TRAIN, VALIDATION, recipe, seed=0)
    weights = [tensor.numpy() for tensor in model.state_dict().values()]
    return [(e.train_loss, e.loss, e.accuracy, e.top5) for e in curve], weights


@pytest.mark.thorough
@pytest.mark.parametrize("changes", [{}, {"device_batch": 3, "ema": 0.9}])
def test_two_processes_train_as_one_does(tmp_path, changes):
    recipe = EXACT.model_copy(update=changes)
    curve, weights = trained(recipe)
    (first, ours), (second, theirs) = in_processes(2, lambda: trained(recipe), tmp_path)
    assert first == second
    np.testing.assert_allclose(first, curve, rtol=1e-4)
    for one, two, alone in zip(ours, theirs, weights, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, alone, rtol=1e-3, atol=1e-5)


class Crowded(nn.Module):
    """A network whose training fits for four images at once in the second process, for any number in the first."""

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, x):
        if self.training and processes.rank() == 1 and len(x) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(x)


def crowded():
    model = Crowded()
    curve = fit(model, TRAIN, VALIDATION, EXACT, seed=0)
    return [epoch.pieces for epoch in curve], [tensor.numpy() for tensor in model.state_dict().values()]


def test_processes_halve_their_batches_together_where_one_s_memory_does_not_suffice(tmp_path):
    _, weights = trained()
    (first, ours), (second, theirs) = in_processes(2, crowded, tmp_path)
    assert first == second == [2, 2]  # shares of 7: 4 + 3
    for one, two, alone in zip(ours, theirs, weights, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, alone, rtol=1e-3, atol=1e-5)


def test_parts_of_a_batch_give_the_gradient_of_the_whole():
    _, whole = trained()
    _, parts = trained(EXACT.model_copy(update={"device_batch": 3}))
    for one, two in zip(whole, parts, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize(("batch_size", "device_batch"), [(3, 1), (5, 1), (5, 2), (7, 3)])
def test_uneven_shares_cut_into_the_smallest_parts_train_as_one_process_does(tmp_path, batch_size, device_batch):
    recipe = EXACT.model_copy(update={"batch_size": batch_size, "device_batch": device_batch})
    curve, _ = trained(recipe)
    (first, _), (second, _) = in_processes(2, lambda: trained(recipe), tmp_path)
    assert first == second
    np.testing.assert_allclose(first, curve, rtol=1e-3)


def test_fewer_images_than_processes_in_a_batch_are_refused(monkeypatch):
    monkeypatch.setattr(processes, "world", lambda: 9)
    with pytest.raises(ConfigError, match="each of the 9 processes needs an image of every batch"):
        InMemory(VALIDATION, EXACT.model_copy(update={"batch_size": 2}))


def test_each_process_draws_for_itself_and_all_end_with_the_same_weights(tmp_path):
    recipe = EXACT.model_copy(update={"crop_padding": 2, "random_erasing": 0.5, "mixup": 0.3})
    (_, ours), (_, theirs) = in_processes(2, lambda: trained(recipe), tmp_path)
    assert all(np.array_equal(one, two) for one, two in zip(ours, theirs, strict=True))


def test_batch_norms_end_with_the_same_statistics_in_all_processes(tmp_path):
    def judged():
        model = nn.Sequential(nn.BatchNorm2d(3), network())
        fit(model, TRAIN, VALIDATION, EXACT.model_copy(update={"ema": 0.9}), seed=0)
        return model[0].running_mean.numpy()

    first, second = in_processes(2, judged, tmp_path)
    assert np.array_equal(first, second) and np.abs(first).max() > 0


def test_a_loss_that_is_no_number_ends_all_processes_alike(tmp_path):
    def diverging():
        try:
            trained(EXACT.model_copy(update={"optimizer": "sgd", "lr": 1e30, "clip_grad": None}))
        except Exception as error:
            return str(error)

    first, second = in_processes(2, diverging, tmp_path)
    assert first == second and "loss nan at epoch 1" in first


def test_each_image_is_judged_once_over_all_processes(tmp_path):
    alone = evaluate(network(), VALIDATION, EXACT)
    for score in in_processes(2, lambda: tuple(evaluate(network(), VALIDATION, EXACT)), tmp_path):
        assert score == pytest.approx(tuple(alone), rel=1e-5)


def test_alone_a_process_is_the_first_of_one():
    values = torch.tensor([1.0, 2.0])
    assert (processes.rank(), processes.world()) == (0, 1)
    assert processes.summed(values) is values and processes.averaged(values) is values and processes.of_first(lambda: 3) == 3


def test_fewer_gpus_than_processes_is_one_message(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(NasError, match=r"process 3 of this machine needs GPU 2, but 2 can be seen"):
        processes.own_device("cuda")
    assert processes.own_device("cuda:1") == torch.device("cuda", 1)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert processes.own_device("auto") == torch.device("cpu")
    with pytest.raises(NasError, match="must be auto, cpu, cuda or cuda:N, but got 'gpu'"):
        processes.own_device("gpu")


FRESH = """
import resource, sys
import numpy as np
from nas.training.processes import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(40 * 2**20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that the second of two equal arrays of 40 MiB, the first of them freed, had to ask the system for."""
    environment = {"PYTHONPATH": ":".join(sys.path), "NUMPY_MADVISE_HUGEPAGE": "0"}
    command = [sys.executable, "-c", FRESH, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout)


@pytest.mark.thorough
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these settings")
def test_a_tensor_takes_the_place_of_a_freed_one_without_asking_the_system():
    assert faults("kept") < 100 < faults("given back")
