"""How latency is measured, never how fast: turns, warm-up, conditions, ratios."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from nas.devices import measure as latency
from nas.devices.conditions import Conditions
from nas.devices.measure import device_of, fingerprint, measure, spread
from nas.errors import NasError

QUICK = {"batch": 2, "image_size": 8, "repeats": 3, "warm_up": 2}


class Watched(nn.Module):
    """Writes down when it runs, and on what."""

    def __init__(self, name, diary):
        super().__init__()
        self.name, self.diary = name, diary
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x):
        self.diary.append((self.name, x, self.training, torch.get_num_threads()))
        return self.conv(x)


def diary_of(**conditions):
    diary = []
    found = measure({name: Watched(name, diary) for name in "ab"}, Conditions(**{**QUICK, **conditions}))
    return diary, found


def test_networks_run_in_turns_after_each_was_warmed_up():
    diary, _ = diary_of()
    assert "".join(name for name, *_ in diary) == "aabb" + "ab" * 3


def test_conditions_reach_images_and_network():
    diary, _ = diary_of(dtype="bfloat16", channels_last=True, threads=1)
    for _, images, training, threads in diary:
        assert (images.dtype, images.shape, training, threads) == (torch.bfloat16, (2, 3, 8, 8), False, 1)
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_threads_are_given_back():
    before = torch.get_num_threads()
    diary_of(threads=before + 1)
    assert torch.get_num_threads() == before


def test_the_warm_up_is_not_timed_and_ratios_are_taken_round_by_round(monkeypatch):
    seconds = iter([0.1, 0.2, 0.2, 0.1, 0.4, 0.1])  # a b, a b, a b
    monkeypatch.setattr(latency, "seconds_of", lambda run, conditions: next(seconds))
    first, second = diary_of()[1]
    assert (first.name, first.batch_ms.median, first.images_per_second) == ("a", pytest.approx(200), pytest.approx(10))
    assert second.speed == pytest.approx((2.0, 1.25, 3.0))  # of 0.5, 2 and 4
    assert first.speed == (1.0, 1.0, 1.0)


def test_a_spread_is_the_median_and_its_quartiles():
    assert spread([4.0, 1.0, 2.0, 3.0, 5.0]) == (3.0, 2.0, 4.0)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"repeats": 1}, {"dtype": "float8"}, {"threads": 0}, {"warmup": 3}])
def test_a_condition_that_cannot_be_measured_under_is_refused(wrong):
    with pytest.raises(ValidationError):
        Conditions(**wrong)


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "mps"])
def test_a_device_is_cpu_or_cuda(name):
    with pytest.raises(NasError, match="--device must be cpu, cuda or cuda:N"):
        device_of(name)


def test_a_missing_cuda_device_is_one_message(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(NasError, match="--device cuda: no such CUDA device here"):
        measure({}, Conditions(device="cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(NasError, match=r"--device cuda:1: no such CUDA device here \(it has 1\)"):
        device_of("cuda:1")
    assert device_of("cuda:0").index == 0


def test_a_batch_that_does_not_fit_is_one_message():
    class Full(nn.Module):
        def forward(self, x):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(NasError, match="a batch of 2 does not fit"):
        measure({"full": Full()}, Conditions(**QUICK))


def test_the_fingerprint_names_machine_software_and_threads():
    found = fingerprint(Conditions(threads=3))
    assert (found["device"], found["torch"], found["threads"]) == ("cpu", torch.__version__, 3)
    assert found["model"]


def test_the_processors_lines_are_read_up_to_the_second_core(tmp_path, monkeypatch):
    text = "processor\t: 0\nmodel name\t: A 1\nflags\t\t: fpu avx2 fma\n\nprocessor\t: 1\nmodel name\t: B 2\n"
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(latency, "Path", lambda path: tmp_path / "cpuinfo")
    assert fingerprint(Conditions())["model"] == "A 1"
    assert fingerprint(Conditions())["flags"] == ["avx2", "fma"]
