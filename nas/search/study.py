"""The record of a search in Optuna's storage: what is asked, told, answered from memory, and found again after a kill."""

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import optuna
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from nas.config import validated
from nas.errors import ConfigError, NasError
from nas.run.attempts import DRIVER_GONE, RETRIES, attempts, begun, ended, ledger, num_lost, repeated
from nas.run.driver import Driver
from nas.run.folder import RunFolder, check_same, plain, versions
from nas.run.record import Record
from nas.run.settings import Search
from nas.run.storage import close_storage, open_storage, storage_errors, uncollected
from nas.run.writer import Book, excess_of
from nas.search.rungs import goes_on
from nas.search.samplers.foresight import foreseen
from nas.search.samplers.registry import SAMPLERS, history_of, suggest
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture, repair
from nas.space.reference import design

REDRAWS = 20  # unaffordable or running proposals in a row before one is repaired
REPEATS = 20  # proposals in a row that the record answers before an untried one is put first
LOST = 2  # trials of one architecture that a machine may lose before it is trained no more
BREAKER = 6  # failures in a row for one cause that end a search
UNTRIED_DRAWS = 500  # random architectures looked at for an untried one before the space counts as exhausted
QUEUED = ("baseline", "start", "repaired")  # why a trial was put into the queue
UNPROPOSED = "the driver was killed before it was proposed"
SEEDS = 2**32  # Optuna's samplers know no larger ones


class Proposal(NamedTuple):
    """An architecture to train, and the number under which its results are told."""

    number: int
    architecture: Architecture


class Study:
    """One search's record; the only one who asks and tells. Everything it knows is read from the storage when it is opened."""

    def __init__(
        self,
        search: Search,
        folder: RunFolder,
        *,
        manifest_hash: str,
        storage: BaseStorage | None = None,
        driver: Driver | None = None,
    ):
        self.search, self.manifest_hash, self.driver = search, manifest_hash, driver
        self.exhausted = False
        self._sampler = SAMPLERS[search.search.sampler](search)
        self._history = history_of(search)
        self._storage = storage or open_storage(search, folder, create=True)
        with storage_errors(search, folder), uncollected():
            self._study = self._open()
        self._begin(folder)
        check = driver.check if driver is not None else lambda: None
        with uncollected():
            self._book = Book(self._study, self._storage, search, check=check)
        self._resumed = self._left_open()

    def _open(self) -> optuna.Study:
        directions = ["maximize", *("minimize" for _ in self.search.objectives[1:])]
        study = optuna.create_study(
            study_name=self.search.name, storage=self._storage, directions=directions, load_if_exists=True
        )
        ours = "search" in study.user_attrs or all(t.state == TrialState.WAITING for t in study.get_trials(deepcopy=False))
        if not ours or [d.name.lower() for d in study.directions] != directions:
            raise NasError(
                f"search.storage: the study {self.search.name!r} that it holds is not of this search, and was left as it is. "
                "Give another --storage, or name the search otherwise."
            )
        study.set_metric_names(list(self.search.objectives))  # what optuna-dashboard calls them
        return study

    def _begin(self, folder: RunFolder) -> None:
        """Put down what the search is and queue its baselines, once."""
        now = {"manifest": self.manifest_hash, **plain(self.search)}
        before = self._study.user_attrs.get("search")
        if before is None and folder.has_weights:
            raise NasError(
                f"{folder.root}: holds weights of a search, but its record is not in the storage that is to be used. They "
                "were left as they are. Give the --storage that the search began with, or choose another --out."
            )
        if before is not None:
            manifest, settings = before.pop("manifest", None), validated(Search, before, where=f"the record of {folder.root}")
            return check_same({"manifest": manifest, **plain(settings)}, now, where=str(folder.root))
        for name in self.search.baselines:
            self._study.enqueue_trial({}, user_attrs={"baseline": name}, skip_if_exists=False)
        self._enqueue_start()
        self._study.set_user_attr("versions", versions())
        self._study.set_user_attr("search", now)  # last: a study without it has not begun
        return None

    def _enqueue_start(self) -> None:
        """Put what is nearest to each reference design among the affordable architectures in the queue, each once."""
        space, queued = self.search.space, {}
        for name in self.search.search.start_designs:
            rng = random.Random(self.search.search.seed)
            near = repair(space.nearest(design(name)), space, self.search.constraints, rng=rng)
            if near is not None:
                queued.setdefault(near.key, (name, near))
            elif name in self.search.search.start:
                raise ConfigError(
                    f"search.start: nothing affordable lies near {name}. Leave it out, or loosen the constraints."
                )
        for name, near in queued.values():
            self._study.enqueue_trial(space.choices(near), user_attrs={"start": name}, skip_if_exists=False)

    def _left_open(self) -> list[Proposal]:
        """What a killed driver was training, to be trained again under its old number; what it was telling is told, and what it
        was about to propose out of the queue goes back there."""
        for trial in self._book.open:
            if self._book[trial.number].state != "running":
                self._book.close(trial.number)
            elif self._book[trial.number].architecture is None:
                self._book.tell(trial.number, state="rejected", cause=UNPROPOSED)
                if "fixed_params" in trial.system_attrs:
                    reasons = {name: trial.user_attrs[name] for name in QUEUED if name in trial.user_attrs}
                    self._study.enqueue_trial(trial.system_attrs["fixed_params"], user_attrs=reasons)
        for record in [r for r in self.records if r.state == "running"]:
            if attempts(record):
                self._book.note(record.number, attempts=ended(record, cause=DRIVER_GONE))
            else:  # perhaps it was about to be turned down
                self._taken(record.number)
        return [Proposal(r.number, r.architecture) for r in self.records if r.state == "running"]

    # what is trained next

    def propose(self) -> Proposal | None:
        """The next architecture to train; None when the budget is spent or nothing untried is left."""
        if self._resumed:
            return self._resumed.pop(0)
        redraws = repeats = 0
        while self.has_work:
            trial = self._ask()
            architecture = self._draw(trial)
            self._book.describe(trial, architecture, manifest=self.manifest_hash)
            if self._taken(trial.number):
                return Proposal(trial.number, architecture)
            answered = self._book[trial.number].state == "answered"
            redraws, repeats = redraws + (not answered), repeats + answered
            if redraws > REDRAWS or repeats > REPEATS:
                redraws = repeats = 0
                self._enqueue_untried(architecture)
        return None

    def _ask(self) -> optuna.Trial:
        # The sampler is made anew for every question, from the seed and the number of questions before: a search that was
        # killed asks next what an unkilled one would.
        asked = sum(r.cause != UNPROPOSED for r in self.records)
        self._study.sampler = self._sampler((self.search.search.seed * 1_000_003 + asked) % SEEDS)
        return self._book.ask()

    def _draw(self, trial: optuna.Trial) -> Architecture:
        if "baseline" in trial.user_attrs:
            return design(trial.user_attrs["baseline"])
        return self.search.space.draw(lambda name, options: suggest(trial, name, options))

    def _taken(self, number: int) -> bool:
        """Whether a described trial is to be trained; else it is told what speaks against it: a limit, or an equal trial."""
        record = self._book[number]
        excess = excess_of(record.cost, self.search, baseline=record.baseline)
        known = self._known(record.key, before=number)
        if excess:
            broken = ", ".join(f"{name} {value:.0%} outside its limit" for name, value in excess.items())
            self._book.tell(number, state="rejected", cause=broken)
        elif known is None:
            return True
        elif known.state == "running":
            self._book.tell(number, state="rejected", cause=f"trial {known.number} is training it")
        else:
            found = {"answered_from": known.number, "cause": known.cause, "accuracy": known.accuracy}
            self._book.tell(number, state="answered", **found)
        return False

    def _enqueue_untried(self, near: Architecture) -> None:
        """Put an untried affordable architecture first: the last proposal repaired, else one at random."""
        space, rng = self.search.space, random.Random(self.search.search.seed * 1_000_003 + len(self.records))
        tried = {r.key for r in self.records if r.state != "rejected"}
        candidates = [near, *(random_architecture(space, rng) for _ in range(UNTRIED_DRAWS))]
        for candidate in candidates if space.contains(near) else candidates[1:]:
            affordable = repair(candidate, space, self.search.constraints, rng=rng)
            if affordable is not None and affordable.key not in tried:
                self._study.enqueue_trial(space.choices(affordable), user_attrs={"repaired": True})
                return
        self.exhausted = True

    # what came out

    def begin(self, number: int, *, host: str, curve: Sequence[dict[str, Any]] = ()) -> bool:
        """Put down that a worker took up a trial, whose checkpoint holds a curve; False if a rung ends it there."""
        record = self._book[number]
        again = sum(e.get("seconds", 0.0) for e in record.curve[len(curve) :])
        self._book.note(
            number,
            attempts=begun(record, host=host, resources=self.search.resources),
            repeated=round(repeated(record) + again, 3) if again else None,
            curve=list(curve) if len(curve) != len(record.curve) else None,
        )
        return not curve or self._is_kept(number, curve[-1]["epoch"])

    def report(self, number: int, epoch: dict[str, Any]) -> bool:
        """Put down one epoch of a running trial; False if a rung stops it there."""
        self._book.note(number, curve=[*(e for e in self._book[number].curve if e["epoch"] < epoch["epoch"]), epoch])
        return self._is_kept(number, epoch["epoch"])

    def _is_kept(self, number: int, epoch: int) -> bool:
        """Whether a trial goes on after an epoch; what a rung once let pass stays passed, however often it is trained again."""
        record = self._book[number]
        if epoch not in self.search.proxy.rungs or record.baseline or epoch <= record.facts.get("passed", 0):
            return True
        goes_on = self._goes_on(number, epoch)
        if goes_on:
            self._book.note(number, passed=epoch)
        return goes_on

    def _goes_on(self, number: int, epoch: int) -> bool:
        """Whether a trial at a rung is foreseen to end well beside all others that reached it."""
        known = {k.number: k for k in self._history.known(self._study.get_trials(deepcopy=False))}
        rungs = (*self.search.proxy.rungs, self.search.proxy.epochs)
        rung = rungs.index(epoch)
        expected = foreseen(list(known.values()), rung=rung, seed=self.search.search.seed)
        if number not in expected:  # what it shows there is no number: its training will end by itself
            return True
        rivals = [(known[n].costs[0], value) for n, value in expected.items() if n != number]
        return goes_on(known[number].costs[0], expected[number], rivals, share=epoch / rungs[rung + 1])

    def finish(self, number: int, *, accuracy: float, seconds: float) -> None:
        """Tell the final accuracy of a trial that had its whole training."""
        self._book.tell(number, state="complete", accuracy=accuracy, seconds=seconds)

    def stop(self, number: int) -> None:
        """Tell that a rung ended a trial: its curve stays, it has no accuracy."""
        seconds = sum(e.get("seconds", 0.0) for e in self._book[number].curve)
        self._book.tell(number, state="stopped", seconds=round(seconds, 3), cause="stopped at a rung")

    def lose(self, number: int, *, cause: str) -> None:
        """Put down that the machine lost a trial's worker; it is proposed again, or has failed if that happened too often."""
        self._book.note(number, attempts=ended(self._book[number], cause=cause))
        record = self._book[number]
        if num_lost(record) <= RETRIES:
            self._resumed.append(Proposal(number, record.architecture))
        else:
            self.fail(number, cause=f"the worker died {num_lost(record)} times: {cause}", machine=True)

    def fail(self, number: int, *, cause: str, seconds: float = 0.0, machine: bool = False) -> None:
        """Tell why a trial has no result, and whether the `machine` was at fault and not the architecture.

        NasError when the last trials all failed for one cause: then it is not the architectures'.
        """
        self._book.tell(number, state="failed", cause=cause, seconds=seconds, machine=machine or None)
        ended = [r for r in self.records if r.state in ("complete", "stopped", "failed")][-BREAKER:]
        kinds = {r.state if r.cause is None else r.cause.partition(":")[0] for r in ended}
        if len(ended) == BREAKER and all(r.state == "failed" for r in ended) and len(kinds) == 1:
            raise NasError(
                f"the last {BREAKER} trials all failed, the last one so: {cause}. Mend this; the same command continues."
            )

    def close(self) -> None:
        """Let go of the storage, so that the run's folder can be copied or removed."""
        close_storage(self._storage)

    # what is known

    @property
    def records(self) -> list[Record]:
        """Every trial in the order of its number."""
        return self._book.records

    @property
    def has_work(self) -> bool:
        """Whether something is left to train: an interrupted trial, a baseline, or budget and an untried architecture."""
        budget = self.num_started < self.search.search.trials or self._baselines_wait()
        return bool(self._resumed) or (budget and not self.exhausted and self.limit is None)

    @property
    def limit(self) -> str | None:
        """The setting that lets nothing new begin, and what has been used of it; None while there is time and money."""
        limits = self.search.search
        if limits.max_hours is not None and self.driver is not None:
            used = self.driver.hours_of_all()
            if used >= limits.max_hours:
                return f"search.max_hours={limits.max_hours:g} ({used:.2f} h used)"
        if limits.max_gpu_hours is not None and (used := ledger(self.records).gpu_seconds / 3600) >= limits.max_gpu_hours:
            return f"search.max_gpu_hours={limits.max_gpu_hours:g} ({used:.2f} GPU-hours used)"
        return None

    @property
    def num_started(self) -> int:
        """Architectures of the space that were or are being trained; baselines and failures of the machine do not count."""
        return sum((r.trained or r.state == "running") and not r.baseline for r in self.records)

    def _baselines_wait(self) -> bool:
        begun = sum(bool(r.baseline) and r.state != "rejected" for r in self.records)
        return begun < len(self.search.baselines)

    def _known(self, key: str, *, before: int) -> Record | None:
        """The earlier trial for which an architecture is not trained again: one that ran or runs, or the second one lost."""
        same = [r for r in self.records if r.key == key and r.number < before]
        lost = [r for r in same if r.facts.get("machine")]
        return next((r for r in same if r.trained or r.state == "running"), lost[-1] if len(lost) >= LOST else None)
