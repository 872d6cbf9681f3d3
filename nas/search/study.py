"""A search as a study in Optuna's storage: what is proposed, reported and answered from the record. Resuming: `resume.py`."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import optuna
from optuna.storages import BaseStorage

from nas.callbacks import ignore
from nas.errors import NasError
from nas.run.attempts import RETRIES, lost_attempts, time_spent, with_attempt, with_cause
from nas.run.cache import ResultCache, computing
from nas.run.driver import Driver
from nas.run.folder import RunFolder, versions
from nas.run.reading import as_written
from nas.run.record import TRAINED, UNFINISHED, Record, TrialState
from nas.run.settings.search import Search
from nas.run.storage import close_storage, open_storage, storage_errors, uncollected
from nas.search.mirror import Mirror
from nas.search.resume import UNPROPOSED, interrupted, open_study
from nas.search.rungs import MOST_AT_A_RUNG, due_rung, likeliest_beaten, must_wait, ranked, waits_at
from nas.search.samplers.history import History
from nas.search.samplers.knowledge import history_of
from nas.search.samplers.outlook import is_flat
from nas.search.samplers.registry import sampler_maker, suggest
from nas.search.writer import TrialRecords, excess_of
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture, repair
from nas.training.curve import Epoch

REDRAWS = 20  # unaffordable or running proposals in a row before one is repaired
REPEATS = 20  # proposals in a row that the record answers before an untried one is put first
LOST = 2  # trials of one architecture that a machine may lose before it is trained no more
BREAKER = 6  # failures in a row for one cause that end a search
UNTRIED_DRAWS = 500  # random architectures looked at for an untried one before the space counts as exhausted
SEEDS = 2**32  # Optuna's samplers know no larger ones


class Proposal(NamedTuple):
    """An architecture to train, and the number under which its results are reported."""

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
        shared: ResultCache | None = None,
        history: History | None = None,
    ):
        self.search, self.manifest_hash, self.driver = search, manifest_hash, driver
        self._shared = shared
        self._flat: tuple[Counter[TrialState], bool] = (Counter(), False)
        self.exhausted = False
        self._history = history or history_of(search)
        self._sampler = sampler_maker(search, self._history)
        self._storage = storage or open_storage(search, folder, create=True)
        with storage_errors(search, folder), as_written(folder), uncollected():
            study = open_study(search, folder, self._storage, manifest_hash=manifest_hash)
            mirror = Mirror(self._storage, study._study_id)  # type: ignore[abstract]  # as in patient()
            self._study = optuna.load_study(study_name=search.name, storage=mirror)
            self._records = TrialRecords(self._study, mirror, search, check=driver.check if driver is not None else ignore)
        again = interrupted(self._records, self._study, is_taken=self._is_taken)
        self._resumed = [Proposal(record.number, record.architecture) for record in again]

    # what is trained next

    def propose(self, *, on_answer: Callable[[], None] = ignore) -> Proposal | None:
        """The next training: one to go on with, or a new architecture; None when the budget is spent or nothing is left.

        `on_answer` is called whenever a result of another run has spared a training.
        """
        if self._resumed:
            return self._resumed.pop(0)
        if (number := self._promoted()) is not None:
            self._go_on(number)
            return Proposal(number, self._records[number].architecture)
        redraws = repeats = 0
        while self._is_open:
            trial = self._ask()
            architecture = self._draw(trial)
            self._records.describe(trial, architecture, manifest=self.manifest_hash)
            is_taken = self._is_taken(trial.number)
            self._records.put_down(trial.number)
            if is_taken:
                return Proposal(trial.number, architecture)
            if self._records[trial.number].source is not None:
                redraws = repeats = 0
                on_answer()
                continue
            is_answered = self._records[trial.number].state == TrialState.ANSWERED
            redraws, repeats = redraws + (not is_answered), repeats + is_answered
            if redraws > REDRAWS or repeats > REPEATS:
                redraws = repeats = 0
                self._enqueue_untried(architecture)
        return None

    def _ask(self) -> optuna.Trial:
        questions = sum(record.cause != UNPROPOSED for record in self.records)
        self._study.sampler = self._sampler((self.search.proposal_seed * 1_000_003 + questions) % SEEDS)
        return self._records.ask()

    def _draw(self, trial: optuna.Trial) -> Architecture:
        if "baseline" in trial.user_attrs:
            return self.search.design(trial.user_attrs["baseline"])
        return self._simplest(self.search.space.draw(lambda name, options: suggest(trial, name, options)))

    def _simplest(self, architecture: Architecture) -> Architecture:
        """The cheapest affordable architecture that the proxy can't tell from this one, so that none is trained twice."""
        simplest = self.search.seen.simplest(architecture)
        return simplest if self.search.constraints.allow(self.search.cost(simplest)) else architecture

    def _is_taken(self, number: int) -> bool:
        """Whether a described trial is to be trained; else what speaks against it is put down: a limit, or an equal trial."""
        record = self._records[number]
        excess = excess_of(record.cost, self.search, baseline=record.baseline)
        equal = self._equal(record.key, before=number)
        if excess:
            broken = ", ".join(f"{name} {value:.0%} outside its limit" for name, value in excess.items())
            self._records.tell(number, state=TrialState.REJECTED, cause=broken)
        elif equal is None:
            kept = self._shared.answer(record.architecture) if self._shared is not None else None
            if kept is None:
                return True
            self._records.tell(number, state=TrialState.ANSWERED, kept=kept)
        elif equal.state in UNFINISHED:
            self._records.tell(number, state=TrialState.REJECTED, cause=f"trial {equal.number} is training it")
        else:
            state, source = TrialState.ANSWERED, equal.number
            self._records.tell(number, state=state, answered_from=source, cause=equal.cause, accuracy=equal.accuracy)
        return False

    def _equal(self, key: str, *, before: int) -> Record | None:
        """The earlier trial for which an architecture is not trained again: one that ran or runs, or has another run's result;
        or the second one lost."""
        same = [r for r in self.records if r.key == key and r.number < before]
        lost = [r for r in same if r.machine]
        ran = (r for r in same if r.had_its_chance or r.is_whole or r.state in UNFINISHED)
        return next(ran, lost[-1] if len(lost) >= LOST else None)

    def _enqueue_untried(self, near: Architecture) -> None:
        """Put an untried affordable architecture first: the last proposal repaired, else one at random."""
        space, rng = self.search.space, random.Random(self.search.proposal_seed * 1_000_003 + len(self.records))
        tried = {r.key for r in self.records if r.state != TrialState.REJECTED}
        candidates = [near, *(random_architecture(space, rng) for _ in range(UNTRIED_DRAWS))]
        for candidate in candidates if space.contains(near) else candidates[1:]:
            affordable = repair(candidate, space, self.search.constraints, rng=rng, cost_of=self.search.cost)
            untried = affordable and self._simplest(affordable)
            if untried is not None and untried.key not in tried:
                self._study.enqueue_trial(space.choices(untried), user_attrs={"repaired": True})
                return
        self.exhausted = True

    # what came out

    def begin(self, number: int, *, host: str, curve: Sequence[Epoch] = ()) -> bool:
        """Put down that a worker took up a trial, whose checkpoint holds a curve; False if it has to wait at a rung."""
        record = self._records[number]
        again = sum(epoch.seconds for epoch in record.curve[len(curve) :])
        self._records.note(
            number,
            attempts=with_attempt(record, host=host, resources=self.search.resources),
            repeated=round(record.repeated + again, 3) if again else None,
            curve=curve if len(curve) != len(record.curve) else None,
        )
        return not curve or self._is_kept(number, curve[-1].epoch)

    def report(self, number: int, epoch: Epoch) -> bool:
        """Put down one epoch of a running trial; False if it has to wait at a rung."""
        self._records.note(number, curve=[*(e for e in self._records[number].curve if e.epoch < epoch.epoch), epoch])
        return self._is_kept(number, epoch.epoch)

    def _is_kept(self, number: int, epoch: int) -> bool:
        """Whether a trial goes on after an epoch: it waits at a rung, unless it is the one whose turn it is."""
        if not must_wait(self._records[number], epoch, self.search):
            return True
        self._records.note(number, state=TrialState.PAUSED)
        is_kept = self._promoted() == number
        if is_kept:
            self._go_on(number)
        return is_kept

    def _promoted(self) -> int | None:
        """The paused trial that is to be trained on now, if it is the turn of one; where too many wait beside it, some end."""
        rung = self._due_rung
        if rung is None:
            return None
        waiting = {r.number for r in self.records if r.state == TrialState.PAUSED and waits_at(r, self.search) == rung}
        points, seed = self._history.observations(self._study.get_trials(deepcopy=False)), self.search.proposal_seed
        first, *others = ranked(waiting, points, rung=rung, history=self._history, seed=seed)
        if (over := len(others) - MOST_AT_A_RUNG + 1) > 0:
            for number in likeliest_beaten(set(others), points, number=over, history=self._history, seed=seed):
                self.stop(number)
        return first

    def _go_on(self, number: int) -> None:
        rung = self.search.proxy.rungs[waits_at(self._records[number], self.search)]
        self._records.note(number, passed=rung, state=TrialState.RUNNING)

    def finish(self, number: int, *, accuracy: float, seconds: float) -> None:
        """Tell the final accuracy of a trial that had its whole training, to other runs as well."""
        record = self._records[number]
        if self._shared is not None and computing(record.versions) == computing(versions()):
            self._shared.keep(record.architecture, trial=number, accuracy=accuracy, curve=record.curve)
        self._records.tell(number, state=TrialState.COMPLETE, accuracy=accuracy, seconds=seconds)

    def settle(self) -> None:
        """Tell the end of what still waits at a rung when the search is over; not where a limit ends it that may be raised."""
        if not self.has_work and self.limit is None:
            for record in [r for r in self.records if r.state == TrialState.PAUSED]:
                self.stop(record.number)

    def stop(self, number: int) -> None:
        """Tell that a trial got no farther than a rung: its curve stays, it has no accuracy."""
        seconds = round(self._records[number].trained_seconds, 3)
        self._records.tell(number, state=TrialState.STOPPED, seconds=seconds, cause="stopped at a rung")

    def lost_on(self, number: int) -> set[str]:
        """The hosts on which a trial's workers were lost."""
        return {attempt.host for attempt in lost_attempts(self._records[number])}

    def lose(self, number: int, *, cause: str, host: str | None = None) -> None:
        """Put down that the machine lost a trial's worker; it is proposed again, or has failed if that happened too often."""
        self._records.note(number, attempts=with_cause(self._records[number], cause=cause, host=host))
        record = self._records[number]
        times = len(lost_attempts(record))
        if times <= RETRIES:
            self._resumed.append(Proposal(number, record.architecture))
        else:
            self.fail(number, cause=f"the worker died {times} times: {cause}", machine=True)

    def fail(self, number: int, *, cause: str, seconds: float = 0.0, machine: bool = False) -> None:
        """Tell why a trial has no result, and whether the `machine` was at fault and not the architecture.

        NasError when the last trials all failed for one cause: then it is not the architectures'.
        """
        self._records.tell(number, state=TrialState.FAILED, cause=cause, seconds=seconds, machine=machine)
        last = [r for r in self.records if r.state in TRAINED][-BREAKER:]
        kinds = {r.cause.partition(":")[0] if r.cause is not None else r.state for r in last}
        if len(last) == BREAKER and all(r.state == TrialState.FAILED for r in last) and len(kinds) == 1:
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
        return self._records.all

    @property
    def num_ended(self) -> int:
        """How many trials have ended since the study was opened."""
        return self._records.num_ended

    @property
    def has_work(self) -> bool:
        """Whether something is left to train: an interrupted or paused trial, a baseline, or an untried architecture."""
        return bool(self._resumed) or self._is_open or self._due_rung is not None

    @property
    def _is_open(self) -> bool:
        """Whether new architectures may be asked for."""
        budget = (self.num_started < self.search.trials and not self.is_flat) or self._baselines_wait()
        return budget and not self.exhausted and self.limit is None

    @property
    def is_flat(self) -> bool:
        """Whether search.stop ends the search; worked out anew whenever a training has ended or come to a rung."""
        if self.search.search.stop is None:
            return False
        states: Counter[TrialState] = Counter(record.state for record in self.records if record.state != TrialState.RUNNING)
        if states != self._flat[0]:
            self._flat = states, is_flat(self.records, self.search, self._history)
        return self._flat[1]

    @property
    def _due_rung(self) -> int | None:
        return due_rung(self.records, self.search, is_last=not self._is_open) if self.limit is None else None

    @property
    def limit(self) -> str | None:
        """The setting that lets nothing new begin, and what has been used of it; None while there is time and money."""
        limits = self.search.search
        if limits.max_hours is not None and self.driver is not None:
            hours = self.driver.hours_of_all()
            if hours >= limits.max_hours:
                return f"search.max_hours={limits.max_hours:g} ({hours:.2f} h used)"
        if limits.max_gpu_hours is not None:
            gpu_hours = time_spent(self.records).gpu_seconds / 3600
            if gpu_hours >= limits.max_gpu_hours:
                return f"search.max_gpu_hours={limits.max_gpu_hours:g} ({gpu_hours:.2f} GPU-hours used)"
        return None

    @property
    def num_started(self) -> int:
        """Architectures of the space that were or are being trained; baselines and failures of the machine do not count."""
        return sum((r.had_its_chance or r.state in UNFINISHED) and not r.baseline for r in self.records)

    def _baselines_wait(self) -> bool:
        proposed = sum(bool(r.baseline) and r.state != TrialState.REJECTED for r in self.records)
        return proposed < len(self.search.baselines)
