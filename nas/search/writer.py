"""The trials of a study as records, and what writes them; a sampler alone adds, before, why it proposes one (`why`)."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from nas.run.cache import KeptResult
from nas.run.folder import versions
from nas.run.front import objectives
from nas.run.record import Attempt, Record, TrialState, read_record
from nas.run.settings.search import Search
from nas.search.mirror import Mirror
from nas.space.architecture import Architecture
from nas.space.costs import Cost
from nas.training.curve import Epoch


class TrialRecords:
    """What is known of every trial, read once from the mirrored storage and kept equal to it; `check` may forbid to write."""

    def __init__(self, study: optuna.Study, mirror: Mirror, search: Search, *, check: Callable[[], None]):
        self._study, self._mirror, self._search, self._check = study, mirror, search, check
        trials = [t for t in study.get_trials(deepcopy=False) if t.state != OptunaState.WAITING]
        self._records = {t.number: read_record(t, count=search.cost) for t in trials}
        self._all: list[Record] | None = None
        self.num_ended = 0
        """How many trials have ended since: the front may be another one where it has changed."""
        self.open: list[FrozenTrial] = [t for t in trials if t.state == OptunaState.RUNNING]
        """What a killed driver had not told Optuna the end of."""

    def __getitem__(self, number: int) -> Record:
        return self._records[number]

    @property
    def all(self) -> list[Record]:
        """Every trial in the order of its number."""
        if self._all is None:
            self._all = [self._records[n] for n in sorted(self._records)]
        return self._all

    def ask(self) -> optuna.Trial:
        """A new trial, of which nothing is known or written yet; one that was queued is begun."""
        self._check()
        return self._study.ask()

    def describe(self, trial: optuna.Trial, architecture: Architecture, *, manifest: str) -> None:
        """Put down which architecture a trial is, what it costs and how far it is outside each limit."""
        cost = self._search.cost(architecture)
        excess = excess_of(cost, self._search, baseline=trial.user_attrs.get("baseline"))
        for name in self._search.constraints.limits:
            trial.set_constraint(name, excess.get(name, -1.0))
        facts = {"seed": self._search.training_seed, "manifest": manifest, "versions": versions()}
        made = {"design": architecture.describe(), "architecture": architecture.to_dict()}  # the first for optuna-dashboard
        self._set(trial.number, {"key": architecture.key, **cost.by_name(), **facts, **made})
        self._reread(trial.number)

    def put_down(self, number: int) -> None:
        """Write a trial that was asked for, with all that is known of it by now."""
        self._check()
        self._mirror.put_down(number)

    def note(
        self,
        number: int,
        *,
        attempts: Sequence[Attempt] | None = None,
        curve: Sequence[Epoch] | None = None,
        repeated: float | None = None,
        passed: int | None = None,
        state: TrialState | None = None,
    ) -> None:
        """Put down something of a trial that has not ended; None is nothing."""
        self._check()
        epochs = None if curve is None else [epoch.model_dump(mode="json") for epoch in curve]
        tries = None if attempts is None else [attempt.to_dict() for attempt in attempts]
        self._set(number, {"attempts": tries, "repeated": repeated, "curve": epochs, "passed": passed, "state": state})
        record = self._records[number]
        changed = replace(
            record,
            attempts=record.attempts if attempts is None else tuple(attempts),
            curve_data=record.curve_data if epochs is None else tuple(epochs),
            repeated=record.repeated if repeated is None else repeated,
            passed=record.passed if passed is None else passed,
            state=record.state if state is None else state,
        )
        self._keep(changed)

    def tell(
        self,
        number: int,
        *,
        state: TrialState,
        accuracy: float | None = None,
        seconds: float | None = None,
        cause: str | None = None,
        machine: bool = False,
        answered_from: int | None = None,
        kept: KeptResult | None = None,
    ) -> None:
        """Put down how a trial ended; `kept` is another run's result, which it has then."""
        self._check()
        facts: dict[str, Any] = {"accuracy": accuracy, "seconds": seconds, "cause": cause, "machine": machine or None}
        if kept is not None:
            facts |= {"source": asdict(kept.source), "accuracy": kept.accuracy}
            facts["curve"] = [epoch.model_dump(mode="json") for epoch in kept.curve]
        # the state last: with it the record is whole, told to Optuna or not
        self._set(number, {**facts, "answered_from": answered_from, "state": state.value})
        self._reread(number)
        self.close(number)
        self.num_ended += 1

    def close(self, number: int) -> None:
        """Tell Optuna what the record says: an accuracy as COMPLETE; a stopped, failed or unaffordable architecture as PRUNED,
        which TPE learns from; a failure of the machine as FAIL, which samplers ignore."""
        record, state, values = self._records[number], OptunaState.PRUNED, None
        if record.accuracy is not None:
            state, values = OptunaState.COMPLETE, [record.accuracy, *objectives(record, self._search)[1:]]
        elif record.machine:
            state = OptunaState.FAIL
        self._study.tell(number, values, state=state, skip_if_finished=True)

    def _set(self, number: int, facts: dict[str, Any]) -> None:
        for name, value in facts.items():
            if value is not None:
                self._mirror.set_trial_user_attr(number, name, value)

    def _reread(self, number: int) -> None:
        self._keep(read_record(self._mirror.get_trial(number)))

    def _keep(self, record: Record) -> None:
        self._records[record.number], self._all = record, None


def excess_of(cost: Cost, search: Search, *, baseline: str | None) -> dict[str, float]:
    """By limit that a cost is outside of, by what share; a baseline has none."""
    return {} if baseline else search.constraints.excess(cost)
