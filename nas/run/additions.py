"""What is learnt of a trial after it ended: its replicates, its latency, what int8 makes of it.

Optuna closes an ended trial, so each stands in the study's own attributes, one attribute for each thing learnt: what finished
is in the record at once, and several programs can add at the same time.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from nas.config.values import in_words
from nas.run.folder import RunFolder
from nas.run.record import damaged
from nas.run.settings.search import Search

REPLICATE, LATENCY, INT8 = "replicate", "latency", "int8"
ADDITION_NAME = re.compile(rf"({REPLICATE}|{LATENCY}|{INT8}) (\d{{1,18}}) (.+)")  # what these attributes are called


class _Replicated(BaseModel):
    seed: int
    accuracy: Annotated[float, Field(ge=0, le=1)] | None
    seconds: Annotated[float, Field(ge=0)] = 0.0
    right: str | None = None
    cause: str | None = None


class _Conditions(BaseModel):
    runtime: str = "torch"
    compile: bool = False
    """What was said in the place of `runtime` before there were several."""
    channels_last: bool
    batch: int
    image_size: int
    dtype: str


class _Machine(BaseModel):
    device: str
    model: str
    threads: int | None = None


class _Timed(BaseModel):
    latency_ms: Annotated[float, Field(gt=0)]
    measured: str
    conditions: _Conditions
    machine: _Machine
    anchor: int | None = None


_Share = Annotated[float, Field(ge=0, le=1)]


class _Quantised(BaseModel):
    accuracy: _Share
    accuracy_int8: _Share
    latency_int8_ms: Annotated[float, Field(gt=0)] | None
    measured: str


SHAPES: dict[str, TypeAdapter] = {
    REPLICATE: TypeAdapter(_Replicated),
    LATENCY: TypeAdapter(_Timed),
    INT8: TypeAdapter(_Quantised),
}
"""What each kind must hold at least."""


class Addition(NamedTuple):
    """One thing learnt of a trial."""

    kind: str
    """REPLICATE, LATENCY or INT8."""
    trial: int
    which: str
    """What tells it from the trial's others of this kind: the seed of a replicate, the conditions of a latency or of int8."""
    value: dict[str, Any]


@contextmanager
def adding(
    search: Search, folder: RunFolder, *, on_wait: Callable[[str], None] = lambda _: None
) -> Iterator[Callable[[Addition], None]]:
    """What puts an addition into the run's record, in the place of an earlier one of the same name.

    It waits for a disk or a server that is away, and `on_wait` hears of that.
    """
    from nas.run import storage as storages  # takes a second; readers go without

    storage = storages.open_storage(search, folder, create=False)
    steady = storages.patient(storage, on_wait=on_wait)
    try:
        with storages.storage_errors(search, folder), storages.watched(search, folder) as held:
            study = steady.get_study_id_from_name(search.name)

            def add(new: Addition) -> None:
                if held is not None:
                    held.check()
                steady.set_study_user_attr(study, f"{new.kind} {new.trial} {new.which}", new.value)

            yield add
    finally:
        storages.close_storage(storage)


def additions(attributes: Mapping[str, Any]) -> list[Addition]:
    """What a study's own attributes hold of this kind; NotWritten where a value is none that a verb of ours writes."""
    named = ((ADDITION_NAME.fullmatch(name), value) for name, value in attributes.items())
    return [_addition(m[1], int(m[2]), m[3], value) for m, value in named if m]


def _addition(kind: str, trial: int, which: str, value: Any) -> Addition:
    try:
        SHAPES[kind].validate_python(value)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, (kind, which, *problem["loc"])))
        raise damaged(trial, where, in_words(problem)) from None
    return Addition(kind, trial, which, value)
