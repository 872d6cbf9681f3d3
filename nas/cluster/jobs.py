"""Independent jobs on Ray's workers: what each may use of its machine, how many run at once, what a lost worker costs."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from rich.console import Console

from nas.cluster.nodes import LeftOut, Prepare, prepare_nodes
from nas.cluster.session import num_workers, ray, started_ray
from nas.errors import CAUSE_LENGTH, NasError
from nas.run.attempts import RETRIES

if TYPE_CHECKING:  # workers import this file, and need no Optuna
    from nas.run.settings import Resources

USABLE = 0.9  # of a card's memory, which CUDA itself takes a part of in every process

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


class WorkerShare(NamedTuple):
    """What of its machine a training may use."""

    cpu: float
    gpu: float

    def keep(self) -> None:
        """Hold this process to its threads, and on a card that others use to its part of the memory: a training that needs more
        is cut into smaller batches there, whoever its neighbours are."""
        import torch

        torch.set_num_threads(max(1, int(self.cpu)))
        if 0 < self.gpu < 1:
            torch.cuda.set_per_process_memory_fraction(self.gpu * USABLE)


def run_jobs(
    jobs: Iterable[_Job],
    *,
    work: Callable[[_Job], _Result],
    resources: "Resources",
    on_end: Callable[[_Job, _Result | None, str | None], None],
    prepare: Prepare | None = None,
    console: Console | None = None,
) -> None:
    """Do independent jobs in their order, as many at once as the resources allow; `on_end(job, result, cause)` hears of each.

    A job whose worker dies is tried RETRIES more times; then there is a cause instead of a result. A NasError in a worker, such
    as images that are gone, ends them all. `prepare` is what each node of a cluster needs done before, told on the `console`.
    """
    waiting = deque((job, RETRIES) for job in jobs)
    running: dict[ray.ObjectRef, tuple[_Job, int]] = {}
    with started_ray(resources):
        left_out = LeftOut()
        if resources.address and prepare is not None:
            left_out = prepare_nodes(prepare, console=console or Console(quiet=True))
        at_once, shared = num_workers(resources, without=left_out.nodes), ray.put(work)
        share = WorkerShare(resources.cpu, resources.gpu)
        as_task: Any = ray.remote  # its own annotations know no keywords
        task = as_task(do_one).options(num_cpus=share.cpu, num_gpus=share.gpu, max_retries=0)
        start = partial(task.remote, work=shared, share=share)
        while waiting or running:
            while waiting and len(running) < at_once:
                job, tries = waiting.popleft()
                running[start(job)] = job, tries
            (finished,), _ = ray.wait(list(running), num_returns=1)
            job, tries = running.pop(finished)
            result, cause = _result_or_cause(finished)
            if cause and tries:
                waiting.appendleft((job, tries - 1))
            else:
                on_end(job, result, cause)


def do_one(job: _Job, *, work: Callable[[_Job], _Result], share: WorkerShare) -> _Result:
    """One job in a worker."""
    share.keep()
    return work(job)


def _result_or_cause(reference: "ray.ObjectRef") -> tuple[Any, str | None]:
    try:
        return ray.get(reference), None
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, NasError):
            raise error.cause from None
        why = f"{type(error.cause).__name__}: {error.cause}"
    except ray.exceptions.RayError as error:
        why = str(error).strip()
    return None, f"the worker died {RETRIES + 1} times: {short_cause(why)}"


def short_cause(text: str) -> str:
    """The first line of what Ray says of a lost worker, without its list of what may have caused it."""
    return (text.strip().splitlines() or [""])[0].split(" Some common causes")[0][:CAUSE_LENGTH]
