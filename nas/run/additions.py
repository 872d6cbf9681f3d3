"""What is learnt of a trial after it ended: its replicates and its latency.

Optuna closes an ended trial, so each stands in the study's own attributes, one attribute for each thing learnt: what finished
is in the record at once, and several programs can add at the same time.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from nas.run.folder import RunFolder
from nas.run.settings import Search

REPLICATE, LATENCY = "replicate", "latency"
ADDITION_NAME = re.compile(rf"({REPLICATE}|{LATENCY}) (\d+) (.+)")  # what these attributes are called


class Addition(NamedTuple):
    """One thing learnt of a trial."""

    kind: str
    """REPLICATE or LATENCY."""
    trial: int
    which: str
    """What tells it from the trial's others of this kind: the seed of a replicate, the conditions of a latency."""
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
    """What a study's own attributes hold of this kind."""
    named = ((ADDITION_NAME.fullmatch(name), value) for name, value in attributes.items())
    return [Addition(m[1], int(m[2]), m[3], value) for m, value in named if m and isinstance(value, dict)]
