"""What is known of one trial, as a value."""

from typing import TYPE_CHECKING, Any, NamedTuple

from nas.config import validated
from nas.space.architecture import Architecture
from nas.space.cost import Cost

if TYPE_CHECKING:  # tables of records need no Optuna
    from optuna.trial import FrozenTrial


class Record(NamedTuple):
    """What the record knows of one trial."""

    number: int
    state: str
    """complete, stopped (at a rung), failed, answered (from an equal trial), running, or rejected (never trained)."""
    key: str = ""
    architecture: Architecture | None = None
    cost: Cost = Cost()
    baseline: str | None = None
    accuracy: float | None = None
    """Accuracy on the search-validation images after the whole proxy; None unless complete or answered."""
    curve: tuple[dict, ...] = ()
    seconds: float = 0.0
    cause: str | None = None
    facts: dict[str, Any] = {}  # noqa: RUF012 (never written to)

    @property
    def trained(self) -> bool:
        """Whether the architecture had its chance: a failure of the machine is none."""
        return self.state in ("complete", "stopped", "failed") and not self.facts.get("machine")


def read_record(trial: "FrozenTrial") -> Record:
    """One of Optuna's trials as a record."""
    facts = dict(trial.user_attrs)
    architecture = facts.pop("architecture", None)
    return Record(
        number=trial.number,
        state=facts.pop("state", "running"),
        key=facts.pop("key", ""),
        architecture=None if architecture is None else validated(Architecture, architecture, where=f"trial {trial.number}"),
        cost=Cost(**{name: facts.pop(name, 0) for name in Cost._fields}),
        baseline=facts.pop("baseline", None),
        accuracy=facts.pop("accuracy", None),
        curve=tuple(facts.pop("curve", ())),
        seconds=facts.pop("seconds", 0.0),
        cause=facts.pop("cause", None),
        facts=facts,
    )
