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

from nas.cluster import room
from nas.errors import ConfigError, NasError
from nas.recipes.full import FullRecipe
from nas.retraining import launch as launch_module
from nas.retraining.launch import Crew, launch
from nas.retraining.train import Job, Listener
from tests.processes import started_by

ROOT = Path(__file__).parents[2]


@pytest.fixture
def job(tiny, tmp_path):
    recipe = FullRecipe(epochs=2, images_per_class=12, batch_size=32, warmup_epochs=0.5)
    return Job(architecture=tiny, recipe=recipe, out=tmp_path / "out", device="cpu")


class Room:
    """A placement group that has a place, or none."""

    def __init__(self, bundles, nodes):
        self.has_room = all(len(bundles) * each <= sum(n.get(name, 0) for n in nodes) for name, each in bundles[0].items())

    def wait(self, timeout_seconds):
        return self.has_room


@pytest.fixture
def cluster(monkeypatch):
    """Nodes as Ray would list them, an autoscaler that could start others, and no time lost in waiting."""

    def of(*nodes, grows_to=None):
        alive = [{"NodeID": str(number), "Alive": True, "Resources": node} for number, node in enumerate(nodes)]
        clock = iter(range(0, 10**9, 40))
        monkeypatch.setattr(ray, "nodes", lambda: alive)
        monkeypatch.setattr(room.ray._private.state.state, "get_max_resources_from_cluster_config", lambda: grows_to)
        monkeypatch.setattr(room, "has_autoscaler", lambda: grows_to == {})
        monkeypatch.setattr(ray.util, "placement_group", lambda bundles, strategy: Room(bundles, nodes))
        monkeypatch.setattr(ray.util, "remove_placement_group", lambda group: None)
        monkeypatch.setattr(room, "monotonic", lambda: next(clock))

    return of


def failing(*errors):
    """A training that ends by each of these, then in order; the numbers of workers it was begun with are its `calls`."""
    left = list(errors)

    def once(job, *, workers, share, listener):
        once.calls.append(workers)
        if left:
            error = left.pop(0)
            if isinstance(error, int):
                listener.on_epoch(error)
                error = left.pop(0)
            raise ray.train.WorkerGroupError("", error if isinstance(error, dict) else {0: error})
        return "the result"

    once.calls = []
    return once


def test_fewer_gpus_than_workers_are_refused_instead_of_waited_for(job, cluster):
    cluster({"CPU": 16.0, "GPU": 2.0})
    wants = job.model_copy(update={"device": "cuda"})
    with pytest.raises(NasError, match=r"--workers 4: each asks for 1 CPU and 1 GPU, but Ray has room for 2 of them. Ask for"):
        launch(wants, Crew(4, 1), listener=Listener())


def test_more_workers_than_cores_are_refused_instead_of_waited_for(job, cluster):
    cluster({"CPU": 2.0})
    with pytest.raises(NasError, match="--workers 3: each asks for 1 CPU, but Ray has room for 2 of them"):
        launch(job, Crew(3, 1), listener=Listener())


def test_more_than_an_autoscaler_can_bring_is_refused_at_once(job, cluster):
    cluster({"CPU": 2.0}, grows_to={"CPU": 4})
    with pytest.raises(NasError, match="Ray has room for 2 of them, and its autoscaler can bring it to 4"):
        launch(job, Crew(8, 1), listener=Listener())


def test_an_autoscaler_that_does_not_say_what_it_can_bring_is_waited_for(job, cluster):
    cluster({"CPU": 0.0}, grows_to={})
    told = []
    with pytest.raises(NasError, match="no room for 4 workers with 1 CPU each in"):
        launch(job, Crew(4, 1, wait_seconds=200), listener=Listener(on_remark=told.append))
    assert told == ["waiting up to 3 min for room for 4 workers with 1 CPU each: the cluster has room for 0"]


def test_where_nobody_can_say_whether_there_will_be_a_gpu_the_user_is_asked(job, cluster):
    cluster({"CPU": 0.0}, grows_to={})
    with pytest.raises(NasError, match="--device cuda to wait for one, or --device cpu"):
        launch(job.model_copy(update={"device": "auto"}), Crew(2, 1), listener=Listener())


def test_gpus_that_an_autoscaler_can_start_are_waited_for_and_no_cpu_is_trained_on(job, cluster):
    cluster({"CPU": 2.0}, grows_to={"CPU": 8, "GPU": 4})
    told = []
    wants = job.model_copy(update={"device": "auto"})
    with pytest.raises(NasError, match="no room for 2 workers with 1 CPU and 1 GPU each in"):
        launch(wants, Crew(2, 1, wait_seconds=200), listener=Listener(on_remark=told.append))
    assert told == ["waiting up to 3 min for room for 2 workers with 1 CPU and 1 GPU each: the cluster has room for 0"]


def test_lost_workers_are_told_and_the_training_is_begun_again_until_it_ends(job, cluster, monkeypatch):
    cluster({"CPU": 2.0})
    monkeypatch.setattr(launch_module, "_once", once := failing(RuntimeError("killed by the system")))
    told = []
    assert launch(job, Crew(2, 1), listener=Listener(on_remark=told.append)) == "the result"
    assert told == ["workers were lost, because a worker failed with killed by the system; going on from the last checkpoint"]
    assert once.calls == [2, 2]


def test_fewer_workers_go_on_where_others_are_lost_as_many_as_share_the_batch_equally(job, cluster, monkeypatch):
    def lost(*_, **__):
        cluster({"CPU": 7.0})
        return once(*_, **__)

    cluster({"CPU": 8.0})
    once = failing(RuntimeError("gone"))
    monkeypatch.setattr(launch_module, "_once", lost)
    told = []
    assert launch(job, Crew(8, 1, least=2), listener=Listener(on_remark=told.append)) == "the result"
    assert once.calls == [8, 4]  # 7, 6 and 5 don't divide the batch of 32
    assert told[-1] == "going on with 4 of 8 workers, at the same batch of all together"


def test_what_a_user_can_mend_is_not_tried_again(job, cluster, monkeypatch):
    cluster({"CPU": 2.0})
    both = {0: RuntimeError("aborted"), 1: ConfigError("classes: must be fewer")}
    monkeypatch.setattr(launch_module, "_once", once := failing(both))
    with pytest.raises(ConfigError, match="classes: must be fewer"):
        launch(job, Crew(2, 1), listener=Listener())
    assert once.calls == [2]


def test_workers_that_keep_dying_end_the_training_with_a_way_out(job, cluster, monkeypatch):
    cluster({"CPU": 2.0})
    monkeypatch.setattr(launch_module, "_once", failing(*(RuntimeError("no room") for _ in range(9))))
    with pytest.raises(NasError, match=r"workers were lost 4 times without an epoch trained in between, .* with no room"):
        launch(job, Crew(2, 1), listener=Listener())


def test_a_trained_epoch_makes_up_for_all_losses_before_it(job, cluster, monkeypatch):
    cluster({"CPU": 2.0})
    trouble = RuntimeError("spot node taken back")
    monkeypatch.setattr(launch_module, "_once", once := failing(*3 * [trouble], 1, *3 * [trouble], 2, *3 * [trouble]))
    assert launch(job, Crew(2, 1), listener=Listener()) == "the result"
    assert len(once.calls) == 10


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
    assert driver.returncode == 0 and "workers were lost, because" in out and "going on after epoch" in out
    plain = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *verb, str(tmp_path / "plain")]
    subprocess.run(plain, check=True, capture_output=True, **options)
    one, two = (load_file(tmp_path / folder / "model.safetensors") for folder in ("ray", "plain"))
    assert all(torch.equal(one[key], two[key]) for key in one)
