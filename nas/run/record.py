"""What the record of a run knows of one trial, as a typed value: here the facts that a study holds are read.

Only what Optuna's trial is before it is a record is looked up in its attributes elsewhere: why it was put into the queue.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from nas.config.values import Value, in_words
from nas.errors import NasError, in_one_line
from nas.space.architecture import Architecture
from nas.space.costs import COUNTED, Cost, estimates_in, resized_in
from nas.training.curve import Epoch

if TYPE_CHECKING:  # tables of records need no Optuna
    from optuna.trial import FrozenTrial


NOTHING_CHANGED = "Nothing was changed. Restore the record from a backup."
_Value = TypeVar("_Value", bound=Value)


class NotWritten(NasError):
    """A record that no search of ours wrote, or that is damaged."""


class TrialState(StrEnum):
    """What became of a trial; its text stands in the record and in tables."""

    RUNNING = "running"
    PAUSED = "paused"
    """Waits at a rung, with its checkpoint, and may be trained on."""
    COMPLETE = "complete"
    """Trained in full."""
    STOPPED = "stopped"
    """Ended at a rung: it keeps its curve and has no accuracy."""
    FAILED = "failed"
    """Its training came to nothing; `cause` says why."""
    ANSWERED = "answered"
    """An equal trial was in the record, or among the results of other runs (`Record.source`), whose result it has."""
    REJECTED = "rejected"
    """Turned down before any training: unaffordable, or in training already."""

    @property
    def words(self) -> str:
        """What a person reads."""
        return _WORDS[self]


_WORDS = {
    TrialState.RUNNING: "running",
    TrialState.PAUSED: "paused at a rung",
    TrialState.COMPLETE: "trained in full",
    TrialState.STOPPED: "stopped at a rung",
    TrialState.FAILED: "failed",
    TrialState.ANSWERED: "answered from the record",
    TrialState.REJECTED: "turned down",
}
UNFINISHED = (TrialState.RUNNING, TrialState.PAUSED)
"""The states of a training that has not ended."""
TRAINED = (TrialState.COMPLETE, TrialState.STOPPED, TrialState.FAILED)
"""The states in which a training has ended."""
CostOf = Callable[[Architecture], Cost]
_LOOSE = ConfigDict(extra="ignore")  # what a later version puts down besides is no reason not to read the rest


@dataclass(frozen=True, config=_LOOSE)
class Attempt:
    """One attempt to train a trial."""

    host: str
    began: str | None = None
    """ISO 8601; None where no worker took it up."""
    cpu: float = 0.0
    gpu: float = 0.0
    cause: str | None = None
    """What ended it before its training did."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not known is left out."""
        facts = {"host": self.host, "began": self.began, "cause": self.cause}
        held = {} if self.began is None else {"cpu": self.cpu, "gpu": self.gpu}
        return {name: value for name, value in {**facts, **held}.items() if value is not None}


@dataclass(frozen=True, config=_LOOSE)
class Reasons:
    """Why a sampler proposed a trial."""

    by: str | None = None
    """How the proposal came about."""
    parents: tuple[int, ...] = ()
    """The trials that it was made from."""
    changes: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    """What distinguishes it from its first parent: before and now, by choice."""
    predicted: float | None = None
    spread: float | None = None
    """Standard deviation of the prediction."""
    expected_gain: float | None = None
    """Expected hypervolume improvement."""
    belief_score: float | None = None
    """How well it is believed to do, in standard deviations of random networks."""


@dataclass(frozen=True, config=_LOOSE)
class Origin:
    """The training of another run from which a trial was answered."""

    run: str
    """Its folder, as its machine calls it."""
    trial: int
    host: str = ""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """What it took there."""

    def __str__(self) -> str:
        return f"{self.run}:{self.trial}"


@dataclass(frozen=True, config=_LOOSE)
class Record:
    """What the record knows of one trial. Its architecture and curve are parsed when they are first asked for, once."""

    number: int
    state: TrialState = TrialState.RUNNING
    key: str = ""
    cost: Cost = Cost()
    baseline: str | None = None
    """The reference design that it is."""
    start: str | None = None
    """The reference design near which the user had it begin."""
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Accuracy on the search-validation images after the whole proxy; None unless complete or answered."""
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    cause: str | None = None
    machine: bool = False
    """Whether it failed for a fault of the machine and not of the architecture."""
    answered_from: int | None = None
    """The trial of this run whose result it has."""
    source: Origin | None = None
    """The trial of another run whose result it has."""
    attempts: tuple[Attempt, ...] = ()
    repeated: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Seconds of epochs that had to be trained again."""
    passed: int = 0
    """The last rung, as an epoch, that let it go on."""
    seed: int | None = None
    manifest: str | None = None
    """Hash of the images that it was trained on."""
    versions: dict[str, str] = field(default_factory=dict)
    why: Reasons | None = None
    began_at: datetime | None = None
    ended_at: datetime | None = None
    architecture_data: str | dict[str, Any] | None = None
    """JSON, or what is in it; None where the proposal was not even drawn."""
    curve_data: str | tuple[dict[str, Any], ...] = ()
    """The same of the curve."""

    @property
    def is_drawn(self) -> bool:
        """Whether it got as far as having an architecture."""
        return self.architecture_data is not None

    @property
    def had_its_chance(self) -> bool:
        """Whether its training ended, with a result or without: a failure of the machine is none."""
        return self.state in TRAINED and not self.machine

    @property
    def is_whole(self) -> bool:
        """Whether it stands for a whole training: its own, or another run's that no trial of this run has."""
        return self.state == TrialState.COMPLETE or (self.state == TrialState.ANSWERED and self.source is not None)

    @cached_property
    def architecture(self) -> Architecture:
        """What it builds; NotWritten where this version cannot read it."""
        return _built(self.number, self.architecture_data)

    @cached_property
    def curve(self) -> tuple[Epoch, ...]:
        """The epochs that were trained so far; NotWritten where they are damaged."""
        data = _loaded(self.number, "curve", self.curve_data)
        if not isinstance(data, list | tuple) or not all(isinstance(epoch, dict) for epoch in data):
            raise damaged(self.number, "curve", f"must be a list of epochs, but got {data!r:.100}")
        epochs = [{name: epoch[name] for name in Epoch.model_fields if name in epoch} for epoch in data]
        return tuple(_of_type(Epoch, epoch, number=self.number, where="curve") for epoch in epochs)

    @property
    def right(self) -> str | None:
        """Which validation images it classified right, packed; None where its training was not whole, or an old one."""
        data = self.curve_data
        if self.accuracy is None or not data or (isinstance(data, str) and '"right"' not in data):
            return None
        return self.curve[-1].right

    @property
    def trained_seconds(self) -> float:
        """Seconds of all epochs in the curve."""
        return sum(epoch.seconds for epoch in self.curve)


def _loaded(number: int, where: str, data: Any) -> Any:
    try:
        return json.loads(data) if isinstance(data, str) else data
    except (ValueError, RecursionError) as error:
        raise damaged(number, where, f"must be JSON, but: {in_one_line(error)}") from None


def _built(number: int, data: Any) -> Architecture:
    return _of_type(Architecture, _loaded(number, "architecture", data), number=number, where="architecture")


def _of_type(kind: type[_Value], data: Any, *, number: int, where: str) -> _Value:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        problem = error.errors()[0]
        path = "".join(f"{part}: " for part in [".".join(map(str, problem["loc"]))] if part)
        raise damaged(number, where, f"{path}{in_words(problem)}") from None


LARGEST_COST = 2**63 - 1  # that a table can hold
APART = frozenset({"number", "cost", "began_at", "ended_at", "architecture_data", "curve_data"})
NAMED = frozenset(Record.__dataclass_fields__) - APART  # what a study holds under the names of these fields


def record_of(
    number: int, facts: Mapping[str, Any], *, count: CostOf | None = None, began_at: Any = None, ended_at: Any = None
) -> Record:
    """The record of a trial from the facts that a study holds of it; NotWritten where a search writes no such facts.

    `count` gives the costs of an architecture: those that are newer than the record are counted now.
    """
    costs: dict[str, Any] = {name: facts[name] for name in COUNTED if name in facts}
    costs["estimates"] = estimates_in(facts)
    costs["resized"] = resized_in(facts)
    if count is not None and "architecture" in facts and len(costs) < len(Cost._fields):
        costs = count(_built(number, facts["architecture"]))._asdict() | costs
    for name, value in ((name, costs[name]) for name in COUNTED if name in costs):
        if type(value) is not int or not 0 <= value <= LARGEST_COST:
            raise damaged(number, f"cost.{name}", f"must be a count, but got {value!r:.100}")
    try:
        return Record(
            number=number,
            cost=Cost(**costs),
            began_at=began_at,
            ended_at=ended_at,
            architecture_data=facts.get("architecture"),
            curve_data=() if facts.get("curve") is None else facts["curve"],
            **{name: value for name, value in facts.items() if name in NAMED},
        )
    except ValidationError as error:
        problem = error.errors()[0]
        raise damaged(number, ".".join(map(str, problem["loc"])), in_words(problem)) from None


def damaged(number: int, where: str, problem: str) -> NotWritten:
    """What is said of a trial's fact that no search wrote."""
    rule = f"the record must hold what a search writes, but: {problem.rstrip('.')}"
    return NotWritten(f"trial {number}: {where}: {rule}. {NOTHING_CHANGED}")


def read_record(trial: "FrozenTrial", *, count: CostOf | None = None) -> Record:
    """One of Optuna's trials as a record."""
    return record_of(
        trial.number, trial.user_attrs, count=count, began_at=trial.datetime_start, ended_at=trial.datetime_complete
    )
