"""Full trainings from the command line: here, under torchrun or on Ray's workers, with their display and their last words."""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from rich.console import Console

from nas.cores import num_cores
from nas.data.progress import shown_decoding
from nas.errors import ConfigError, Infeasible
from nas.recipes.full import FullRecipe
from nas.retraining import front as retrained
from nas.retraining.event_log import EventLog
from nas.retraining.folder import Result
from nas.retraining.progress import RetrainingBar
from nas.retraining.train import Job, Listener, Unstable, run
from nas.run.settings.sections import Resources
from nas.terminal import Terminal, command
from nas.training import processes
from nas.units import duration, percent
from nas.winners.selection import Chosen

News = TypeVar("News")


class Machines(NamedTuple):
    """How many processes there are for what."""

    workers: int = 1
    """That train one network together."""
    parallel: int = 1
    """Networks trained at once."""
    address: str | None = None
    """A running Ray cluster; None starts Ray here where it is needed."""
    least: int | None = None
    """As few workers as this go on where there is no room for all; None: no fewer."""
    wait_seconds: float | None = None
    """How long a cluster's workers are waited for; None as `launch` has it."""


class Order(NamedTuple):
    """What a user asks for, whichever networks it is for."""

    recipe: FullRecipe
    out: Path
    seed: int
    device: str
    tensorboard: bool = False

    def job(self, network: Chosen, *, folder: str = "") -> Job:
        """The training of a network in the folder of the order, or in one below it."""
        return Job(
            architecture=network.architecture,
            recipe=self.recipe,
            out=self.out / folder,
            seed=self.seed,
            device=self.device,
            origin=network.origin,
        )


def show_retraining(network: Chosen, order: Order, machines: Machines, *, console: Console) -> None:
    """Trains one network with a line an epoch, then says the result on the test split; of several processes, the first."""
    if machines.parallel > 1:
        raise ConfigError(f"--parallel {machines.parallel}: must stand with --front, because one network is asked for.")
    _check(machines)
    job = order.job(network)
    if _is_silent():
        run(job)
        return
    _say(console, f"{job.architecture.describe()}, on {job.recipe.data}, into {job.out}")
    result = run_watched(job, machines, tensorboard=order.tensorboard, console=console)
    after = command("export", job.out, "--out", f"exported/{job.out.resolve().name}")
    _say(console, f"{_result_line(result)}. Everything lies in {job.out}.\nNext: {after}")


def show_front_retraining(
    run_folder: Path, members: list[Chosen], order: Order, machines: Machines, *, console: Console
) -> None:
    """Trains every member, each in a folder of its own name, and redraws the front from what comes out.

    What is done stays done: the same command again goes on. A network whose training diverges, or that the images don't suit,
    is reported and skipped.
    """
    if machines.parallel > 1 and machines.workers > 1:
        raise ConfigError(
            f"--workers {machines.workers} and --parallel {machines.parallel}: networks can be trained at once, or each in "
            "several processes, but not both. Leave one out."
        )
    _check(machines)
    jobs = {member.name: order.job(member, folder=member.name) for member in members}
    outcomes: dict[str, Result | str] = {}
    quiet = _is_silent()
    if not quiet:
        about = f"{len(members)} networks of {run_folder}, on {order.recipe.data}, into {order.out}"
        _say(console, f"{about}, {_at_once(machines)}: {', '.join(jobs)}")

    def on_end(name: str, outcome: Result | str) -> None:
        outcomes[name] = outcome
        if not quiet:
            retrained.write_retrained(retrained.retrained_table(members, outcomes), order.out)
            _say(
                console,
                f"[{len(outcomes)}/{len(jobs)}] {name}: {outcome if isinstance(outcome, str) else _result_line(outcome)}",
            )

    shown = Terminal(quiet=True) if quiet else console
    if machines.workers > 1 or processes.asked_for() > 1:
        _one_after_another(jobs, machines, on_end, tensorboard=order.tensorboard, console=shown)
    else:
        _queued(jobs, machines, on_end, tensorboard=order.tensorboard)
    if not quiet:
        retrained.show_retrained(retrained.retrained_table(members, outcomes), console)
        _say(console, f"Everything lies in {order.out}: retrained.csv, retrained.png, a folder for each network")


def _at_once(machines: Machines) -> str:
    if machines.parallel > 1:
        return f"{machines.parallel} side by side"
    together = max(machines.workers, processes.asked_for())
    return f"one after the other{f' by {together} workers together' if together > 1 else ''}"


def _check(machines: Machines) -> None:
    """NasError before anything is written where the options don't go together, or no cluster can be joined."""
    if machines.least is not None and machines.address is None:
        raise ConfigError("--min-workers: is for a cluster, but no --address names one. Give it, or leave this out.")
    if machines.least is not None and machines.least > machines.workers:
        raise ConfigError(
            f"--min-workers: must be at most the {machines.workers} of --workers, but got {machines.least}. Lower it, or "
            "ask for more --workers."
        )
    if machines.address is not None or machines.workers * machines.parallel > 1:
        from nas.cluster.session import check_machines  # takes a second: only where needed

        check_machines(machines.address, workers=machines.workers * machines.parallel)


def run_watched(job: Job, machines: Machines, *, tensorboard: bool, console: Console) -> Result:
    """Does a job, its progress on the console."""
    with ExitStack() as stack:
        bar = stack.enter_context(RetrainingBar(console, job.recipe))
        decoded = stack.enter_context(shown_decoding(console, image_size=job.recipe.full_size))
        steps, epochs = [bar.step], [bar.end_epoch]
        if tensorboard:
            log = EventLog(job.out / "tensorboard")
            stack.callback(log.close)
            steps, epochs = [*steps, log.step], [*epochs, log.end_epoch]
        listener = Listener(decoded, bar.begin, _all(steps), _all(epochs), bar.remark)
        if machines.workers == 1 and machines.address is None:
            _keep_to_quota()
            return run(job, listener)
        return _on_ray(job, listener, machines)


def _keep_to_quota() -> None:
    """No more threads than the container may run at once: torch knows of no quota, and is throttled."""
    import torch

    torch.set_num_threads(min(torch.get_num_threads(), num_cores()))


def _on_ray(job: Job, listener: Listener, machines: Machines) -> Result:
    from nas.cluster.nodes import check_nodes
    from nas.cluster.session import started_ray  # takes a second: only where needed
    from nas.retraining.launch import Crew, launch

    cpu = _cores(job.recipe, machines.workers, machines)
    with started_ray(Resources(address=machines.address, workers=machines.workers, cpu=cpu)):
        if machines.address:
            job.out.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=job.out) as marker:
                check_nodes(Path(marker.name))
        return launch(job, Crew(machines.workers, cpu, machines.least, machines.wait_seconds), listener=listener)


def _one_after_another(
    jobs: dict[str, Job], machines: Machines, on_end: Callable, *, tensorboard: bool, console: Console
) -> None:
    # torchrun's processes meet once
    together = next(iter(jobs.values())).device if processes.asked_for() > 1 else None
    with processes.process_group(processes.own_device(together)) if together else nullcontext():
        for name, job in jobs.items():
            try:
                on_end(name, run_watched(job, machines, tensorboard=tensorboard, console=console))
            except (Unstable, Infeasible) as error:
                on_end(name, str(error))


def _queued(jobs: dict[str, Job], machines: Machines, on_end: Callable, *, tensorboard: bool) -> None:
    """As many at once as asked for, each in a process of Ray's with one device."""
    import torch

    from nas.cluster.jobs import run_jobs

    asked = next(iter(jobs.values())).device
    has_gpu = torch.cuda.is_available() if machines.address is None else _has_gpu(machines.address)
    gpu = float(asked.startswith("cuda") or (asked == "auto" and has_gpu))
    cpu = _cores(next(iter(jobs.values())).recipe, machines.parallel, machines)
    resources = Resources(address=machines.address, workers=machines.parallel, cpu=cpu, gpu=gpu)
    here = {"device": "cuda" if gpu else "cpu"}
    run_jobs(
        [(name, job.model_copy(update={**here, "out": job.out.resolve()})) for name, job in jobs.items()],
        work=partial(_work, tensorboard=tensorboard),
        resources=resources,
        on_end=lambda pair, outcome, cause: on_end(pair[0], cause if outcome is None else outcome),
    )


def _has_gpu(address: str) -> bool:
    """Whether a cluster has GPUs, or can start nodes that have some."""
    from nas.cluster.room import any_gpu
    from nas.cluster.session import started_ray

    with started_ray(Resources(address=address)):
        return any_gpu()


def _work(pair: tuple[str, Job], *, tensorboard: bool) -> Result | str:
    """One network in a worker: its result, or what it does to its training."""
    try:
        return run_watched(pair[1], Machines(), tensorboard=tensorboard, console=Terminal(quiet=True))
    except (Unstable, Infeasible) as error:
        return str(error)


def _cores(recipe: FullRecipe, parts: int, machines: Machines) -> int:
    """For each of so many trainings: here an equal part; on a cluster one for each process that decodes for it."""
    if machines.address is None:
        return max(1, num_cores() // parts)
    return 1 if recipe.loader is None else max(1, recipe.loader.workers)


def _is_silent() -> bool:
    """Whether another of torchrun's processes speaks."""
    return processes.asked_for() > 1 and os.environ.get("RANK") != "0"


def _result_line(result: Result) -> str:
    where = f"{result.processes} processes on " if result.processes > 1 else ""
    kept = "" if result.kept_epoch == result.epochs else f", weights of epoch {result.kept_epoch} of {result.epochs}"
    return (
        f"test accuracy {percent(result.accuracy)}, top-5 {percent(result.top5)} on {result.test_images:,} images, seen "
        f"once{kept}; {duration(result.seconds)} of training on {where}{result.device}"
    )


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)


def _all(callbacks: Sequence[Callable[[News], object]]) -> Callable[[News], None]:
    def call(news: News) -> None:
        for callback in callbacks:
            callback(news)

    return call
