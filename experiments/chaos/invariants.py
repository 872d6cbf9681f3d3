"""What must hold of a search after everything that was done to it, judged from its record alone."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import TrialState as OptunaState

from nas.run.folder import read_run
from nas.run.front import front_hypervolume, front_records, reference_costs
from nas.run.reading import read
from nas.run.record import TRAINED, Record, TrialState
from nas.run.storage import close_storage, open_storage

MARK = "CHAOS_RUN"  # a variable that everything a search starts inherits
FINISHED = (*TRAINED, TrialState.ANSWERED)


def broken(run: Path, *, unkilled: Path | None = None, exactly: bool = False) -> list[str]:
    """The invariants that do not hold, in words; with `exactly` the run must be trial for trial what the unkilled one is."""
    records, wrong = records_of(run), []
    wrong += [f"trial {r.number} is {r.state}" for r in records if r.state not in FINISHED]
    wrong += [f"Optuna holds trial {number} as {state.name}" for number, state in _open_trials(run)]
    trained = Counter(r.key for r in records if r.state in (TrialState.COMPLETE, TrialState.STOPPED))
    wrong += [f"{key} was trained {times} times" for key, times in trained.items() if times > 1]
    wrong += [f"{path.name} is left" for path in (run / "checkpoints").glob("*")]
    wrong += _repeated_too_much(records)
    if unkilled is not None:
        wrong += _different(records, records_of(unkilled), exactly=exactly)
    return wrong


def records_of(run: Path) -> list[Record]:
    """The record of a run."""
    return read(run).trials


def hypervolume(run: Path) -> float:
    """Of a run's front, as the search shows it."""
    _, search = read_run(run)
    return front_hypervolume(front_records(records_of(run), search), search, reference_costs(search))


def survivors(mark: str) -> Iterator[int]:
    """Processes that were started under this mark and still live."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                yield int(folder.name)


def _open_trials(run: Path) -> list[tuple[int, OptunaState]]:
    folder, search = read_run(run)
    storage = open_storage(search, folder, create=False)
    trials = optuna.load_study(study_name=search.name, storage=storage).get_trials(deepcopy=False)
    close_storage(storage)
    return [(t.number, t.state) for t in trials if t.state == OptunaState.RUNNING]


def _repeated_too_much(records: list[Record]) -> list[str]:
    """At most one epoch for each attempt that was broken off; in these searches a rung is at most two epochs long."""
    wrong = []
    for record in records:
        rung = 2 * max((epoch.seconds for epoch in record.curve), default=0.0)
        allowed = rung * sum(attempt.cause is not None for attempt in record.attempts)
        if record.repeated > allowed:
            wrong.append(f"trial {record.number} repeated {record.repeated:.1f} s, {allowed:.1f} s are allowed")
    return wrong


def _different(records: list[Record], before: list[Record], *, exactly: bool) -> list[str]:
    if exactly:
        pairs = zip(map(_shown, records), map(_shown, before), strict=False)
        wrong = [f"trial {a[0]} is {a}, unkilled {b}" for a, b in pairs if a != b]
        return wrong if len(records) == len(before) else [*wrong, f"{len(records)} trials, unkilled {len(before)}"]
    known = {r.key: r.accuracy for r in before if r.state == TrialState.COMPLETE}
    return [
        f"{r.key} reached {r.accuracy}, unkilled {known[r.key]}"
        for r in records
        if r.state == TrialState.COMPLETE and r.key in known and r.accuracy != known[r.key]
    ]


def _shown(record: Record) -> tuple:
    return record.number, record.key, record.state, record.accuracy
