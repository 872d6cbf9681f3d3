"""What is learnt of a trial after it ended: its replicates and its latency.

Optuna closes an ended trial, so each stands in the study's own attributes, one attribute for each thing learnt: what finished
is in the record at once, and several programs can add at the same time.
"""

from typing import Any, NamedTuple

from nas.search.folder import RunFolder
from nas.search.settings import Search

REPLICATE, LATENCY = "replicate", "latency"
KINDS = (f"{REPLICATE} ", f"{LATENCY} ")  # what the names of these attributes begin with


class Addition(NamedTuple):
    """One thing learnt of a trial."""

    kind: str
    """REPLICATE or LATENCY."""
    trial: int
    which: str
    """What tells it from the trial's others of this kind: the seed of a replicate, the conditions of a latency."""
    value: dict[str, Any]


def add(additions: list[Addition], *, search: Search, folder: RunFolder) -> None:
    """Put them into the run's record; an earlier one of the same name is replaced."""
    from nas.search.storage import close_storage, open_storage, storage_errors  # Optuna takes a second; readers go without

    storage = open_storage(search, folder, create=False)
    with storage_errors(search, folder):
        study = storage.get_study_id_from_name(search.name)
        for each in additions:
            storage.set_study_user_attr(study, f"{each.kind} {each.trial} {each.which}", each.value)
        close_storage(storage)


def addition(name: str, value: dict[str, Any]) -> Addition:
    """An attribute of the study, whose name begins with one of KINDS, as what it stands for."""
    kind, trial, which = name.split(" ", 2)
    return Addition(kind, int(trial), which, value)
