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
from typing import Any

import ray
from ray.train import RunConfig, ScalingConfig, get_context
from ray.train.torch import TorchTrainer
from ray.util.queue import Queue

from nas.cluster.jobs import short_cause
from nas.errors import NasError, in_one_line
from nas.retraining.folder import Result
from nas.retraining.train import SILENT, Job, Listener, run

RESTARTS = 2  # of the whole group, after workers were lost
TELL_SECONDS = 0.5  # between two messages about decoding


def launch(job: Job, *, workers: int, cpu: float, listener: Listener) -> Result:
    """Trains on so many workers, a GPU each where the job's device is one; NasError where they can't be had, or keep dying."""
    use_gpu = needs_gpu(job)
    _check_room(workers, cpu=cpu, use_gpu=use_gpu)
    job = job.model_copy(update={"out": job.out.resolve(), "device": "cuda" if use_gpu else "cpu"})
    for attempt in range(RESTARTS + 1):
        try:
            return _once(job, workers=workers, cpu=cpu, use_gpu=use_gpu, listener=listener)
        except ray.train.TrainingFailedError as error:
            trouble = _trouble(error)
            if isinstance(trouble, NasError):
                raise trouble from None
            why = short_cause(in_one_line(trouble, most=10_000))
            listener.on_lost(attempt + 1, why)
    raise NasError(
        f"{job.out}: workers were lost {RESTARTS + 1} times: {why}. The same command goes on from the last checkpoint."
    )


def needs_gpu(job: Job) -> bool:
    """Whether each worker trains on a GPU: as asked, and on "auto" where the started Ray has any."""
    return job.device.startswith("cuda") or (job.device == "auto" and ray.cluster_resources().get("GPU", 0) > 0)


def _check_room(workers: int, *, cpu: float, use_gpu: bool) -> None:
    have = ray.cluster_resources()
    for name, each in (("GPU", float(use_gpu)), ("CPU", cpu)):
        if workers * each > have.get(name, 0):
            raise NasError(
                f"--workers {workers}: each asks for {each:g} {name}, but Ray has {have.get(name, 0):g} in all. "
                "Ask for fewer workers, or give the --address of a larger cluster."
            )


def _once(job: Job, *, workers: int, cpu: float, use_gpu: bool, listener: Listener) -> Result:
    with _heard(listener) as queue, tempfile.TemporaryDirectory(dir=_made(job.out), prefix=".ray") as scratch:
        logging.getLogger("ray.train").setLevel(logging.CRITICAL)
        trainer = TorchTrainer(
            partial(_work, threads=max(1, int(cpu))),
            train_loop_config={"job": job.model_dump_json(), "queue": queue},
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": cpu, **({"GPU": 1} if use_gpu else {})}
            ),
            run_config=RunConfig(name="retrain", storage_path=scratch),
        )
        trainer.fit()
    return Result.model_validate_json((job.out / "result.json").read_text(encoding="utf-8"))


def _work(config: dict[str, Any], *, threads: int) -> None:
    """One worker's part; the first one's callbacks go into the queue."""
    import torch

    torch.set_num_threads(threads)

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

    return Listener(decoded, *(partial(tell, name) for name in ("on_begin", "on_step", "on_epoch")))


@contextlib.contextmanager
def _heard(listener: Listener) -> Iterator[Queue]:
    """A queue of which every entry is told to the listener until the `with` block ends."""
    queue = Queue(actor_options={"num_cpus": 0})

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
    """What went wrong in a worker: a NasError of any of them if there is one."""
    failures = list(getattr(error, "worker_failures", {}).values()) or [error.__cause__ or error]
    causes = [getattr(failure, "cause", None) or failure for failure in failures]
    return next((cause for cause in causes if isinstance(cause, NasError)), causes[0])
