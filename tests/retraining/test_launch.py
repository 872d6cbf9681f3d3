"""Ray's workers train as one process group, and go on from the last checkpoint when one of them is lost."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray
import torch
from safetensors.torch import load_file

from nas.errors import ConfigError, NasError
from nas.recipes.full import FullRecipe
from nas.retraining import launch as launch_module
from nas.retraining.launch import launch
from nas.retraining.train import Job, Listener
from tests.processes import started_by

ROOT = Path(__file__).parents[2]


@pytest.fixture
def job(tiny, tmp_path):
    recipe = FullRecipe(epochs=2, images_per_class=12, batch_size=32, warmup_epochs=0.5)
    return Job(architecture=tiny, recipe=recipe, out=tmp_path / "out", device="cpu")


def started(monkeypatch, **resources):
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)


def test_fewer_gpus_than_workers_are_refused_instead_of_waited_for(job, monkeypatch):
    started(monkeypatch, CPU=16.0, GPU=2.0)
    wants = job.model_copy(update={"device": "cuda"})
    with pytest.raises(NasError, match=r"--workers 4: each asks for 1 GPU, but Ray has 2 in all. Ask for fewer workers"):
        launch(wants, workers=4, cpu=1, listener=Listener())


def test_more_workers_than_cores_are_refused_instead_of_waited_for(job, monkeypatch):
    started(monkeypatch, CPU=2.0)
    with pytest.raises(NasError, match="--workers 3: each asks for 1 CPU, but Ray has 2 in all"):
        launch(job, workers=3, cpu=1, listener=Listener())


def test_lost_workers_are_told_and_the_training_is_begun_again_until_it_ends(job, monkeypatch):
    started(monkeypatch, CPU=2.0)
    told, calls = [], []

    def failing_once(*_, **__):
        calls.append(1)
        if len(calls) == 1:
            raise ray.train.WorkerGroupError("", {1: RuntimeError("killed by the system. Some common causes are …")})
        return "the result"

    monkeypatch.setattr(launch_module, "_once", failing_once)
    listener = Listener(on_lost=lambda times, why: told.append((times, why)))
    assert launch(job, workers=2, cpu=1, listener=listener) == "the result"
    assert told == [(1, "killed by the system.")]


def test_what_a_user_can_mend_is_not_tried_again(job, monkeypatch):
    started(monkeypatch, CPU=2.0)
    calls = []

    def refusing(*_, **__):
        calls.append(1)
        raise ray.train.WorkerGroupError("", {0: RuntimeError("aborted"), 1: ConfigError("classes: must be fewer")})

    monkeypatch.setattr(launch_module, "_once", refusing)
    with pytest.raises(ConfigError, match="classes: must be fewer"):
        launch(job, workers=2, cpu=1, listener=Listener())
    assert len(calls) == 1


def test_workers_that_keep_dying_end_the_training_with_a_way_out(job, monkeypatch):
    started(monkeypatch, CPU=2.0)

    def failing(*_, **__):
        raise ray.train.WorkerGroupError("", {0: RuntimeError("no room")})

    monkeypatch.setattr(launch_module, "_once", failing)
    with pytest.raises(NasError, match=r"workers were lost 3 times: no room. The same command goes on"):
        launch(job, workers=2, cpu=1, listener=Listener())


@pytest.mark.slow
def test_a_killed_ray_worker_costs_no_more_than_an_epoch(tiny, tmp_path):
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.to_dict()))
    verb = ["-m", "nas", "retrain", str(tmp_path / "tiny.json"), "--recipe", "digits_quick", "--device", "cpu", "--out"]
    options = {"cwd": ROOT, "env": {**os.environ, "OMP_NUM_THREADS": "1"}, "text": True}
    on_ray = [sys.executable, *verb, str(tmp_path / "ray"), "--workers", "2"]
    driver = subprocess.Popen(on_ray, stdout=subprocess.PIPE, **options)
    while not (tmp_path / "ray" / "checkpoint.pt").exists():
        assert driver.poll() is None
        time.sleep(0.05)
    _, second = (pid for pid, command in started_by(driver.pid).items() if "RayTrainWorker" in command)
    os.kill(second, signal.SIGKILL)
    out, _ = driver.communicate(timeout=500)
    assert driver.returncode == 0 and "workers were lost (1)" in out and "going on after epoch" in out
    plain = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *verb, str(tmp_path / "plain")]
    subprocess.run(plain, check=True, capture_output=True, **options)
    one, two = (load_file(tmp_path / folder / "model.safetensors") for folder in ("ray", "plain"))
    assert all(torch.equal(one[key], two[key]) for key in one)
