"""A full training on Ray Train workers, started again from its last checkpoint when one is lost.

Ray must have been started. The workers call the same `run` that torchrun's processes call; of the first one's progress the
caller hears through a queue.
"""

import contextlib
import logging
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.train import RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchConfig, TorchTrainer
from ray.util.queue import Queue

from nas.cluster.avoided import own_node
from nas.cluster.loss import first_cause, loss_in_words
from nas.cluster.room import Team, WorkerShare, any_gpu, most_by_autoscaler, num_places, placed
from nas.errors import NasError
from nas.retraining.folder import Result
from nas.retraining.train import SILENT, Job, Listener, run
from nas.training import processes
from nas.training.curve import Epoch, OnEpoch

RESTARTS = 3  # of the whole group after workers were lost, without an epoch trained in between
TELL_SECONDS = 0.5  # between two messages about decoding
ROOM_SECONDS = 1800.0  # for which room is waited, after workers were lost or while an autoscaler starts nodes


class Crew(NamedTuple):
    """The workers that a training asks for."""

    workers: int
    cpu: float
    """For each of them."""
    least: int | None = None
    """As few as this go on where the others are lost, or can't be had; None: no fewer than all."""
    wait_seconds: float | None = None
    """How long room for them is waited for; None: ROOM_SECONDS once there was room, or where an autoscaler brings it."""


def launch(job: Job, crew: Crew, *, listener: Listener) -> Result:
    """Trains on a crew, a GPU each where the job's device is one; NasError where it can't be had, or keeps being lost.

    Whatever their number, the workers share the recipe's batch: one that doesn't divide it is not taken.
    """
    team = _team(job, crew)
    job = job.model_copy(update={"out": job.out.resolve(), "device": "cuda" if team.share.gpu else "cpu"})
    lost = _Lost()
    counted = listener._replace(on_epoch=lost.forgetting(listener.on_epoch))
    while True:
        workers = placed(team, sizes=lambda n: job.recipe.batch_size % n == 0, on_wait=listener.on_remark)
        if workers < team.workers:
            listener.on_remark(f"going on with {workers} of {team.workers} workers, at the same batch of all together")
        try:
            return _once(job, workers=workers, share=team.share, listener=counted)
        except ray.train.TrainingFailedError as error:
            trouble = _trouble(error)
            if isinstance(trouble, NasError):
                raise trouble from None
            lost.note(loss_in_words(trouble), job, listener)
            team = team._replace(wait_seconds=ROOM_SECONDS if crew.wait_seconds is None else crew.wait_seconds)


class _Lost:
    """How often workers were lost since an epoch ended."""

    def __init__(self) -> None:
        self.times = 0

    def forgetting(self, on_epoch: OnEpoch) -> OnEpoch:
        """`on_epoch`, which also begins the count anew."""

        def trained(epoch: Epoch) -> bool | None:
            self.times = 0
            return on_epoch(epoch)

        return trained

    def note(self, why: str, job: Job, listener: Listener) -> None:
        """One more loss; NasError where it is one too many."""
        self.times += 1
        if self.times > RESTARTS:
            raise NasError(
                f"{job.out}: workers were lost {self.times} times without an epoch trained in between, the last time because "
                f"{why}. Mend that; the same command goes on from the last checkpoint."
            )
        listener.on_remark(f"workers were lost, because {why}; going on from the last checkpoint")


def _team(job: Job, crew: Crew) -> Team:
    """The workers and how long they are waited for; NasError where there is no room, and nobody who would bring it."""
    most = most_by_autoscaler()
    share = WorkerShare(crew.cpu, float(job.device.startswith("cuda") or (job.device == "auto" and any_gpu())))
    team = Team(crew.workers, share, crew.least or crew.workers, crew.wait_seconds or 0.0)
    there, grown = num_places(share), share.places_in(most)
    if there >= team.least or crew.wait_seconds:
        return team._replace(wait_seconds=ROOM_SECONDS if crew.wait_seconds is None else crew.wait_seconds)
    if grown >= team.least:
        return team._replace(wait_seconds=ROOM_SECONDS)
    can = f", and its autoscaler can bring it to {grown}" if most else ""
    raise NasError(
        f"--workers {crew.workers}: each asks for {share}, but Ray has room for {there} of them{can}. Ask for fewer workers"
        f"{_lower_cpu(job, crew)}, give the --address of a larger cluster, or wait for nodes that are yet to join it with "
        "--wait-for-cluster 30m."
    )


def _lower_cpu(job: Job, crew: Crew) -> str:
    if job.recipe.loader is None or crew.cpu <= 1:
        return ""
    return " or for fewer processes that decode (--set loader.workers=2, a core each)"


def _once(job: Job, *, workers: int, share: WorkerShare, listener: Listener) -> Result:
    with _heard(listener) as queue, tempfile.TemporaryDirectory(dir=_made(job.out), prefix=".ray") as scratch:
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        trainer = TorchTrainer(
            partial(_work, share=share),
            train_loop_config={"job": job.model_dump_json(), "queue": queue},
            torch_config=TorchConfig(timeout_s=int(processes.STEP_PATIENCE.total_seconds())),
            scaling_config=ScalingConfig(num_workers=workers, use_gpu=share.gpu > 0, resources_per_worker=share.bundle),
            run_config=RunConfig(name="retrain", storage_path=scratch),
        )
        trainer.fit()
    return Result.model_validate_json((job.out / "result.json").read_text(encoding="utf-8"))


def _work(config: dict[str, Any], *, share: WorkerShare) -> None:
    """One worker's part; the first one's callbacks go into the queue."""
    share.keep()
    is_first = get_context().get_world_rank() == 0
    run(Job.model_validate_json(config["job"]), _telling(config["queue"]) if is_first else SILENT)


def _telling(queue: Queue) -> Listener:
    """Puts what it hears into the queue, of decoding only now and then."""
    last = [0.0]

    def tell(name: str, *what: Any) -> None:
        queue.put((name, what))

    def decoded(done: int, total: int, unit: str) -> None:
        if done in (0, total) or time.monotonic() - last[0] > TELL_SECONDS:
            last[0] = time.monotonic()
            tell("on_decoded", done, total, unit)

    return Listener(decoded, *(partial(tell, name) for name in ("on_begin", "on_step", "on_epoch", "on_remark")))


@contextlib.contextmanager
def _heard(listener: Listener) -> Iterator[Queue]:
    """A queue of which every entry is told to the listener until the `with` block ends."""
    queue = Queue(actor_options={"num_cpus": 0, "label_selector": own_node()})  # a node that is lost takes no words along

    def listen() -> None:
        while (entry := queue.get()) is not None:
            name, what = entry
            getattr(listener, name)(*what)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield queue
    finally:
        queue.put(None)
        thread.join()
        queue.shutdown()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _trouble(error: Exception) -> BaseException:
    """What went wrong in a worker, and explains what the others ended by."""
    return first_cause(list(getattr(error, "worker_failures", {}).values()) or [error.__cause__ or error])
