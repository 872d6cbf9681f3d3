"""Independent jobs on Ray's workers: what each may use of its machine, how many run at once, what a lost worker costs."""

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console

from nas.cluster.avoided import selector
from nas.cluster.loss import short_cause
from nas.cluster.nodes import Prepare, prepare_nodes
from nas.cluster.room import WorkerShare
from nas.cluster.session import num_workers, ray, started_ray
from nas.errors import NasError
from nas.run.attempts import RETRIES

if TYPE_CHECKING:  # workers import this file, and need no Optuna
    from nas.run.settings.sections import Resources

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


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
        unfit: frozenset[str] = frozenset()
        if resources.address and prepare is not None:
            unfit = prepare_nodes(prepare, console=console or Console(quiet=True))
        at_once, shared = num_workers(resources, without=unfit), ray.put(work)
        share = WorkerShare(resources.cpu, resources.gpu)
        as_task: Any = ray.remote  # its own annotations know no keywords
        task = as_task(do_one).options(num_cpus=share.cpu, num_gpus=share.gpu, max_retries=0, label_selector=selector(unfit))
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
