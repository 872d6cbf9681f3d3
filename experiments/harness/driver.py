"""What a search's driver costs, and how busy it keeps its workers: trainings are events of a clock, the driver's work is real.

python experiments/harness/driver.py --workers 32 --records 1000
python experiments/harness/driver.py --workers 256 --records 1000 --trainings 512 --seconds 60
python experiments/harness/driver.py --workers 32 --records 1000 --profile driver.prof

A search of hybrid.yaml with its rungs, in SQLite, with all that a driver does for a trial but Ray's own part: asks, reports,
rungs, the front, files, the display. `--ray` adds that part, which `sleeping.py --sampler random` shows. The clock moves by the
driver's processor time while it works, so that what else the machine does is not counted.
"""

import cProfile
import heapq
import io
import math
import multiprocessing
import random
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Annotated, Any, NamedTuple

import optuna
import typer
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from nas.cluster.avoided import Avoided
from nas.cluster.stopping import Stopping
from nas.run.folder import open_folder, versions
from nas.run.settings.search import Search, read_search
from nas.run.storage import open_storage, patient
from nas.search.ahead import Ahead
from nas.search.progress import SearchProgress
from nas.search.run import noting
from nas.search.samplers.registry import distribution
from nas.search.study import Study
from nas.search.tune import RungScheduler, StudySearcher
from nas.space.constraints import random_architecture
from nas.training.curve import Begin, Epoch, Message, Outcome, Placed, packed

SPACE = Path(__file__).parents[2] / "search_spaces" / "hybrid.yaml"
IMAGES = 1000  # that an accuracy would be measured on
USUAL_MACS = 9e7  # of a network whose training takes as long as is asked for: the middle of the space
PASSED = 3  # of so many trials in the record one was trained in full, the others were stopped at the rung


class Event(NamedTuple):
    """When a training has something to report, and how far it is: 0 epochs when it begins."""

    at: float
    worker: int
    trial: str
    epoch: int


def epoch_of(macs: int, key: str, number: int, *, epochs: int, seconds: float) -> Epoch:
    """A made-up epoch: more MACs are better, with a spread of two points, and so is a longer training."""
    accuracy = 0.6 + 0.1 * math.log10(macs / 1e8) + 0.02 * int(key[:4], 16) / 16**4 - 0.3 / number + 0.3 / epochs
    loss = 1 - accuracy + 0.05 * int(key[4:8], 16) / 16**4
    return Epoch(epoch=number, accuracy=accuracy, loss=loss, train_loss=loss, lr=1e-3, seconds=seconds, steps=10)


def made_up(search: Search, rng: random.Random, *, is_whole: bool) -> FrozenTrial:
    """A trial that ended, of a random affordable architecture."""
    while search.constraints.excess(cost := search.space.cost(architecture := random_architecture(search.space, rng))):
        pass
    key, epochs = architecture.key, search.proxy.epochs
    until = epochs if is_whole else search.proxy.rungs[0]
    curve = [epoch_of(cost.macs, key, i, epochs=epochs, seconds=5.0) for i in range(1, until + 1)]
    told = {"curve": [e.model_dump(mode="json") for e in curve], "seconds": 5.0 * until, "versions": versions(), "seed": 0}
    whole = {"accuracy": curve[-1].accuracy, "passed": search.proxy.rungs[0], "state": "complete"}
    ended = whole if is_whole else {"state": "stopped"}
    params = search.space.choices(architecture)
    distributions: dict[str, BaseDistribution] = {name: distribution(search.space.axes[name]) for name in params}
    values = [curve[-1].accuracy, *(getattr(cost, name) for name in search.objectives[1:])] if is_whole else None
    return create_trial(
        params=params,
        distributions=distributions,
        values=values,
        user_attrs={"key": key, **cost.by_name(), "architecture": architecture.to_dict(), **told, **ended},
        state=TrialState.COMPLETE if is_whole else TrialState.PRUNED,
    )


def fill(search: Search, root: Path, records: int) -> None:
    """Begin a search in `root` and put so many trials into its record."""
    folder, rng = open_folder(root, search), random.Random(0)
    Study(search, folder, manifest_hash="none").close()
    study = optuna.load_study(study_name=search.name, storage=patient(open_storage(search, folder, create=True), on_wait=print))
    study.add_trials([made_up(search, rng, is_whole=i % PASSED == 0) for i in range(records)])


class Fleet:
    """Workers that train by a clock, and the driver that they wait for."""

    def __init__(self, searcher: StudySearcher, *, workers: int, seconds: float, ray: float):
        self.searcher, self.scheduler = searcher, RungScheduler(searcher)
        self.ray, self.epochs = ray, searcher.study.search.proxy.epochs
        self.epoch_seconds = seconds / self.epochs
        self.clock = self.idle = self.spent = 0.0  # idle: of all workers together
        self.free = dict.fromkeys(range(workers), 0.0)  # since when
        self.ready: list[str] = []
        self.events: list[Event] = []
        self.asked = 0
        self.proposals: list[float] = []  # seconds of each ask that gave a new architecture
        self.epochs_done: dict[str, int] = {}
        self.begun: float | None = None  # when the driver's present call began
        searcher.ahead = Ahead(workers, clock=self._now)

    def run(self, trainings: int) -> None:
        """Until so many trainings, each of them to a rung or from it, have ended."""
        ended = 0
        while ended < trainings:
            has_asked = self._ask()
            while self.free and self.ready:
                self._begin(self.ready.pop(0))
            if has_asked and (not self.events or self.events[0].at > self.clock):
                continue
            event = heapq.heappop(self.events)
            self.clock = max(self.clock, event.at)
            goes_on = self._report(event)
            self.idle += self.clock - event.at
            if goes_on:
                again = Event(self.clock + self._epoch_seconds(event.trial), event.worker, event.trial, event.epoch + 1)
                heapq.heappush(self.events, again)
            else:
                ended += 1
                self.free[event.worker] = self.clock

    def _ask(self) -> bool:
        name, before = str(self.asked), self.spent
        config = self._timed(lambda: self.searcher.suggest(name))
        if not isinstance(config, dict):
            return False
        if not self.searcher.study.records[self.searcher.numbers[name]].curve:
            self.proposals.append(self.spent - before)
        self.searcher.suggest(name)  # which is None after a proposal
        self.asked += 1
        self.ready.append(name)
        return True

    def _begin(self, name: str) -> None:
        """A worker takes up a trial that waits, from where it was stopped."""
        worker, since = self.free.popitem()
        self.clock += self.ray
        self.idle += self.clock - since
        record = self.searcher.study.records[self.searcher.numbers[name]]
        heapq.heappush(self.events, Event(self.clock, worker, name, len(record.curve)))

    def _report(self, event: Event) -> bool:
        """Whether the training goes on after what it reports."""
        record = self.searcher.study.records[self.searcher.numbers[event.trial]]
        is_begin = event.trial not in self.epochs_done
        self.epochs_done[event.trial] = event.epoch
        if is_begin:
            self._say(event.trial, Placed(host="here"))
            return self._say(event.trial, Begin(curve=record.curve))
        epoch = epoch_of(record.cost.macs, record.key, event.epoch, epochs=self.epochs, seconds=self.epoch_seconds)
        if not self._say(event.trial, epoch):
            return False
        if event.epoch == self.epochs:
            outcome = Outcome(accuracy=epoch.accuracy, seconds=self.epochs * self.epoch_seconds)
            self._timed(lambda: self.searcher.on_trial_complete(event.trial, packed(outcome)))
            return False
        return True

    def _say(self, trial: str, message: Message) -> bool:
        """A worker's message to the driver; whether its training goes on."""
        sender = SimpleNamespace(trial_id=trial)
        return self._timed(lambda: self.scheduler.on_trial_result(None, sender, packed(message))) != "STOP"

    def _epoch_seconds(self, trial: str) -> float:
        """In proportion to MACs."""
        macs = self.searcher.study.records[self.searcher.numbers[trial]].cost.macs
        return self.epoch_seconds * macs / USUAL_MACS

    def _timed(self, call: Any) -> Any:
        self.begun = time.process_time()
        answer = call()
        took = time.process_time() - self.begun
        self.clock, self.spent, self.begun = self.clock + took, self.spent + took, None
        return answer

    def _now(self) -> float:
        return self.clock + (0.0 if self.begun is None else time.process_time() - self.begun)


def measure(search: Search, root: Path, workers: int, trainings: int, seconds: float, ray: float, profile: str) -> list[str]:
    """In a process of its own: lines that say what was measured."""
    folder = open_folder(root, search)
    storage = patient(open_storage(search, folder, create=True), on_wait=print)
    study = Study(search, folder, manifest_hash="none", storage=storage)
    with SearchProgress(search, Console(file=io.StringIO(), force_terminal=False)) as progress:
        progress.watch(study)
        on_change = noting(study, folder, progress, images=IMAGES)
        fleet = Fleet(
            StudySearcher(study, folder, workers=workers, avoided=Avoided(), stopping=Stopping(), on_change=on_change),
            workers=workers,
            seconds=seconds,
            ray=ray,
        )
        fleet.run(workers)
        began, spent, idle, proposed = fleet.clock, fleet.spent, fleet.idle, len(fleet.proposals)
        with cProfile.Profile() if profile else nullcontext() as profiler:
            fleet.run(trainings)
        if profiler:
            profiler.dump_stats(profile)
    all_time, new = workers * (fleet.clock - began), fleet.proposals[proposed:]
    return [
        f"until the first {workers} trainings had ended: {spent:.1f} s of the driver",
        f"then {trainings} trainings by {workers}: {1000 * (fleet.spent - spent) / trainings:.0f} ms of the driver each; "
        f"workers busy {1 - (fleet.idle - idle) / all_time:.3f}",
        f"{len(new)} new proposals: {1000 * fmean(new or [0.0]):.0f} ms each",
    ]


def main(
    workers: Annotated[int, typer.Option(help="Trainings at once.")] = 32,
    records: Annotated[int, typer.Option(help="Trials in the record when it begins.")] = 1000,
    trainings: Annotated[int, typer.Option(help="Trainings that are measured, each to a rung or from it.")] = 100,
    seconds: Annotated[float, typer.Option(help="How long a whole training takes, of a network of 90 M MACs.")] = 60.0,
    ray: Annotated[float, typer.Option(help="Seconds that Ray adds to each training.")] = 0.0,
    settings: Annotated[list[str], typer.Option("--set", help="As of nas search.")] = [],  # noqa: B006
    profile: Annotated[str, typer.Option(help="A file for a profile of the measured part.")] = "",
) -> None:
    """Print what a training costs the driver, and how busy the workers are."""
    most = records + 4 * (workers + trainings)
    search = read_search(SPACE, settings=[f"search.trials={most}", "baselines=[]", *settings])
    alone = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place, ProcessPoolExecutor(1, mp_context=alone) as process:
        fill(search, Path(place), records)
        for line in process.submit(measure, search, Path(place), workers, trainings, seconds, ray, profile).result():
            print(line, flush=True)


if __name__ == "__main__":
    typer.run(main)
