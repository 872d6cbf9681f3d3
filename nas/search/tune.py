"""Trials on Ray Tune: Ray moves the work, the study decides and remembers. Nothing that a resume needs lives here."""

import contextlib
import math
import os
import signal
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "3600",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}
for _name, _value in QUIET.items():  # ray reads them when it is imported
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402
from ray import tune  # noqa: E402
from ray.tune.schedulers import FIFOScheduler, TrialScheduler  # noqa: E402
from ray.tune.search import Searcher  # noqa: E402

from nas.errors import NasError  # noqa: E402
from nas.space.architecture import Architecture  # noqa: E402
from nas.training.decoding import num_cores  # noqa: E402

if TYPE_CHECKING:  # workers import this file, and need no Optuna
    from nas.search.folder import RunFolder
    from nas.search.settings import Resources
    from nas.search.study import Study

RETRIES = 2  # of a trial whose worker died; what an architecture does to its training is an outcome and never retried
OBJECT_STORE_BYTES = 200_000_000
CAUSE_LENGTH = 300
ADDRESS_TIMEOUT_SECONDS = 5

Job = TypeVar("Job")
Result = TypeVar("Result")


class StudySearcher(Searcher):
    """Ray Tune's question "what next?" handed to the study, and the end of each trial handed back."""

    def __init__(self, study: "Study", folder: "RunFolder", on_change: Callable[[], None]):
        super().__init__()
        self.study, self.folder, self.on_change = study, folder, on_change
        self.numbers: dict[str, int] = {}
        self.errors: dict[str, str] = {}
        self.trouble: Exception | None = None

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """Keeps what went wrong in the study, which Ray would turn into the text of an error of its own."""
        try:
            yield
        except Exception as error:
            self.trouble = error
            raise

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next architecture as a Tune configuration, or the sign that the search is over."""
        with self.noted():
            proposal = self.study.propose()
            self.on_change()
        if proposal is None:
            return Searcher.FINISHED
        self.numbers[trial_id] = proposal.number
        weights = str(self.folder.weights(proposal.number))
        return {"number": proposal.number, "architecture": proposal.architecture.to_dict(), "weights": weights}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Tell the study how the trial ended."""
        with self.noted():
            self._tell(trial_id, result or {}, error=error)
            self.on_change()

    def _tell(self, trial_id: str, result: dict, *, error: bool) -> None:
        number = self.numbers.pop(trial_id)
        seconds = result.get("outcome/seconds") or float(result.get("time_total_s", 0.0))
        if error:
            self.study.fail(number, cause=self.errors.pop(trial_id, "the worker died"), seconds=seconds, machine=True)
        elif "outcome/seconds" not in result:
            self.study.stop(number, seconds=seconds)
        elif result["outcome/accuracy"] is None:
            self.study.fail(number, cause=result["outcome/cause"], seconds=seconds)
        else:
            self.study.finish(number, accuracy=result["outcome/accuracy"], seconds=seconds)

    def __getstate__(self) -> dict:
        """Nothing: Ray pickles its searcher, but the record lives in the study alone."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class RungScheduler(FIFOScheduler):
    """First in, first out; every epoch goes to the record, which says whether the trial goes on."""

    def __init__(self, searcher: StudySearcher):
        super().__init__()
        self.searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        """Put an epoch down; stop at a rung if the study says so."""
        epoch = {name.removeprefix("epoch/"): value for name, value in result.items() if name.startswith("epoch/")}
        if epoch:
            with self.searcher.noted():
                on = self.searcher.study.report(self.searcher.numbers[trial.trial_id], epoch)
                self.searcher.on_change()
            return TrialScheduler.CONTINUE if on else TrialScheduler.STOP
        return TrialScheduler.CONTINUE

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Remember why, which Ray does not tell the searcher; called at every attempt."""
        lines = [line.strip() for line in (trial.get_error() or "no cause given").splitlines() if line.strip()]
        why = lines[-1].split(" Some common causes")[0][:CAUSE_LENGTH]
        self.searcher.errors[trial.trial_id] = f"the worker died {trial.num_failures} times: {why}"

    def __getstate__(self) -> dict:
        """Nothing: see StudySearcher."""
        return {}


def train_one(config: dict[str, Any], *, work: Callable, threads: int) -> None:
    """One trial in a worker: train, report every epoch, report the outcome."""
    import torch

    torch.set_num_threads(threads)
    architecture = Architecture.model_validate(config["architecture"])
    outcome = work(
        architecture,
        on_epoch=lambda epoch: tune.report({"epoch": epoch.model_dump(mode="json")}),
        weights=Path(config["weights"]),
    )
    tune.report({"outcome": outcome.model_dump(mode="json", include={"accuracy", "seconds", "cause"})})


def run_trials(
    study: "Study", folder: "RunFolder", *, work: Callable, resources: "Resources", on_change: Callable[[], None] = lambda: None
) -> None:
    """Train what `study` proposes until it proposes nothing more; `work(architecture, on_epoch=, weights=)` is one training."""
    with started_ray(resources), _scratch(folder, resources) as scratch:
        searcher = StudySearcher(study, folder, on_change)
        try:
            _tuner(searcher, work=work, resources=resources, scratch=scratch).fit()
        except Exception:
            if searcher.trouble is None:
                raise
            raise searcher.trouble  # noqa: B904 (with its own cause)


def _tuner(searcher: StudySearcher, *, work: Callable, resources: "Resources", scratch: Path) -> tune.Tuner:
    trainable = partial(train_one, work=work, threads=max(1, int(resources.cpu)))
    return tune.Tuner(
        tune.with_resources(trainable, {"cpu": resources.cpu, "gpu": resources.gpu}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=RungScheduler(searcher),
            num_samples=-1,
            max_concurrent_trials=num_workers(resources),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="trials", storage_path=str(scratch), verbose=0, failure_config=tune.FailureConfig(max_failures=RETRIES)
        ),
    )


def run_jobs(
    jobs: Iterable[Job],
    *,
    work: Callable[[Job], Result],
    resources: "Resources",
    on_end: Callable[[Job, Result | None, str | None], None],
) -> None:
    """Do independent jobs in their order, as many at once as there is room for; `on_end(job, result, cause)` hears of each.

    A job whose worker dies is tried RETRIES more times; then there is a cause instead of a result. A NasError in a worker, such
    as images that are gone, ends them all.
    """
    waiting, running = deque((job, RETRIES) for job in jobs), {}
    with started_ray(resources):
        room, shared = num_workers(resources), ray.put(work)
        options = {"num_cpus": resources.cpu, "num_gpus": resources.gpu, "max_retries": 0, "max_calls": 0}
        start = partial(ray.remote(**options)(do_one).remote, work=shared, threads=max(1, int(resources.cpu)))
        while waiting or running:
            while waiting and len(running) < room:
                job, tries = waiting.popleft()
                running[start(job)] = job, tries
            (ended,), _ = ray.wait(list(running), num_returns=1)
            job, tries = running.pop(ended)
            result, cause = _result_or_cause(ended)
            if cause and tries:
                waiting.appendleft((job, tries - 1))
            else:
                on_end(job, result, cause)


def do_one(job: Job, *, work: Callable[[Job], Result], threads: int) -> Result:
    """One job in a worker."""
    import torch

    torch.set_num_threads(threads)
    return work(job)


def _result_or_cause(ended: "ray.ObjectRef") -> tuple[Any, str | None]:
    try:
        return ray.get(ended), None
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, NasError):
            raise error.cause from None
        why = f"{type(error.cause).__name__}: {error.cause}"
    except ray.exceptions.RayError as error:
        why = str(error).strip()
    first = why.splitlines()[0].split(" Some common causes")[0]
    return None, f"the worker died {RETRIES + 1} times: {first[:CAUSE_LENGTH]}"


@contextlib.contextmanager
def _scratch(folder: "RunFolder", resources: "Resources") -> Iterator[Path]:
    """A folder for Ray's own notes, which nobody reads: on a cluster beside the record, where all nodes see it."""
    with tempfile.TemporaryDirectory(dir=folder.root.resolve() if resources.address else None, prefix=".ray") as path:
        yield Path(path)


def num_workers(resources: "Resources") -> int:
    """Trials at once: as asked for, else as many as the started Ray has room for; NasError if it has room for none."""
    have = ray.cluster_resources()
    room = have.get("CPU", 0) / resources.cpu
    if resources.gpu:
        room = min(room, have.get("GPU", 0) / resources.gpu)
    if room < 1:
        raise NasError(
            f"resources: a trial asks for {resources.cpu:g} CPU and {resources.gpu:g} GPU, but Ray has "
            f"{have.get('CPU', 0):g} CPU and {have.get('GPU', 0):g} GPU. "
            "Lower resources.cpu or resources.gpu, or give the --address of a larger cluster."
        )
    return resources.workers or int(room)


def _local_cpus(resources: "Resources") -> int:
    """What Ray may hand out on this machine: what the asked-for workers need, else the cores this process may use."""
    if resources.workers:
        return math.ceil(resources.workers * resources.cpu)
    return num_cores()


def check_address(address: str | None) -> None:
    """NasError in seconds where nobody listens at a cluster's address; Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=ADDRESS_TIMEOUT_SECONDS).close()
    except OSError as error:
        raise NasError(
            f"resources.address {address}: nobody answers there: {error}. Start the cluster, or mend the address."
        ) from None


def _unprinted(*_: Any, **__: Any) -> None:
    """What Ray would print of a lost worker: the record and the display say it."""


@contextlib.contextmanager
def started_ray(resources: "Resources") -> Iterator[None]:
    """Ray, quiet and closed to the network, or the cluster at the address asked for."""
    local = {"num_cpus": _local_cpus(resources), "object_store_memory": OBJECT_STORE_BYTES} if resources.address is None else {}
    # log_to_driver=False leaves the raylet's messages, and there is no setting for those
    ray._private.worker.print_to_stdstream = _unprinted
    try:
        ray.init(
            address=resources.address or "local",
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level="CRITICAL",  # a lost worker is told in the record and the display, not as a traceback
            **local,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise NasError(
            f"resources.address {resources.address}: Ray cannot be reached: {error}. Is the cluster running?"
        ) from None
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # how Slurm and Kubernetes end a job: the same as Ctrl-C
    try:
        yield
    finally:
        ray.shutdown()
