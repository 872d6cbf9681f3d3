"""How a search goes on after it was killed, at any moment and by anything.

Nothing that a resume needs lives in a process, in Ray or in a pickle. All of it stands in the study of the run's storage and in
the checkpoints of running trials, in the order in which it is written:

1. A new study gets its queue, the baselines and then the start points, and last of all the attribute "search": the settings
   and the hash of the manifest. A study without that attribute has not begun, and is begun again: what is then queued twice is
   trained once, since an equal trial answers the second. One with other settings, or of another program, is refused and left
   as it is.
2. A proposal is a trial of Optuna's (`RUNNING` there), put down as a whole, in one transaction, with its parameters,
   architecture and costs (`mirror.py`): killed before, it is asked for again. One that comes out of the queue gets them one by
   one. Killed before it has an architecture, it is turned down and put at the queue's end.
3. When a worker takes it up, an attempt is added to it, and after each epoch its curve. Killed then, its last attempt gets the
   cause, and it is proposed again under its old number: its worker goes on from the checkpoint, and epochs that the checkpoint
   lacks are counted as repeated. A proposal that no worker had taken up is first compared with the record again, because
   the killed driver may have been about to turn it down.
4. At a rung a trial is put down as paused, and its checkpoint stays. When it goes on, the rung is remembered in it, so that it
   waits there once, however often the epoch is trained. Those that still wait when the search is over are told as stopped.
5. When a trial ends, what it came to is put down, its state last, and then told to Optuna. Killed between the two, Optuna is
   told now.

Samplers are made anew for every question, from the search's seed and what the study holds by then: a search that was killed
asks next what an unkilled one would have asked. So proposals, rungs and results are what they would have been, but for two
details: a queued proposal that was being asked for comes at the queue's end, and the proposals turned down in a row, after
some of which an untried architecture is queued, are counted from none.
"""

import random
from collections.abc import Callable

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState as OptunaState

from nas.errors import ConfigError, NasError
from nas.run.attempts import DRIVER_GONE, with_cause
from nas.run.folder import RunFolder, plain_search, versions
from nas.run.reading import check_no_weights, check_settings
from nas.run.record import Record, TrialState
from nas.run.settings.search import Search
from nas.search.writer import TrialRecords
from nas.space.architecture import Architecture
from nas.space.constraints import repair

QUEUED = ("baseline", "start", "repaired")  # why a trial was put into the queue
UNPROPOSED = "the driver was killed before it was proposed"


def open_study(search: Search, folder: RunFolder, storage: BaseStorage, *, manifest_hash: str) -> optuna.Study:
    """The search's study, begun; NasError where the storage holds another one of its name."""
    study = _study(search, storage)
    now = {"manifest": manifest_hash, **plain_search(search)}
    before = study.user_attrs.get("search")
    if before is None:
        _begin(study, search, folder, now)
    else:
        check_settings(before, search, folder, manifest_hash=manifest_hash)
    return study


def _study(search: Search, storage: BaseStorage) -> optuna.Study:
    directions = [StudyDirection.MAXIMIZE, *(StudyDirection.MINIMIZE for _ in search.objectives[1:])]
    study = optuna.create_study(study_name=search.name, storage=storage, directions=directions, load_if_exists=True)
    is_new = all(t.state == OptunaState.WAITING for t in study.get_trials(deepcopy=False))
    if not (is_new or "search" in study.user_attrs) or study.directions != directions:
        raise NasError(
            f"search.storage: the study {search.name!r} that it holds is not of this search, and was left as it is. "
            "Give another --storage, or name the search otherwise."
        )
    study.set_metric_names(list(search.objectives))  # what optuna-dashboard calls them
    return study


def _begin(study: optuna.Study, search: Search, folder: RunFolder, now: dict) -> None:
    """Queue the baselines and start points, and put down what the search is."""
    check_no_weights(folder)
    starts = start_points(search)  # or its error, before anything is written
    for name in search.baselines:
        study.enqueue_trial({}, user_attrs={"baseline": name}, skip_if_exists=False)
    for name, near in starts.items():
        study.enqueue_trial(search.space.choices(near), user_attrs={"start": name}, skip_if_exists=False)
    study.set_user_attr("versions", versions())
    study.set_user_attr("search", now)  # last: a study without it has not begun


def start_points(search: Search) -> dict[str, Architecture]:
    """By design of search.start, what is nearest to it among the affordable architectures; each architecture once."""
    space = search.space
    points: dict[str, tuple[str, Architecture]] = {}
    for name in search.start_designs:
        rng = random.Random(search.proposal_seed)
        near = repair(space.nearest(search.design(name)), space, search.constraints, rng=rng, cost_of=search.cost)
        if near is not None:
            points.setdefault(near.key, (name, near))
        elif name in search.start:
            raise ConfigError(f"search.start: nothing affordable lies near {name}. Leave it out, or loosen the constraints.")
    return dict(points.values())


def interrupted(records: TrialRecords, study: optuna.Study, *, is_taken: Callable[[int], bool]) -> list[Record]:
    """What a killed driver was training, to be trained again; what it left half told is settled.

    `is_taken` compares a trial with the record as when it was proposed, and says whether it is still to be trained.
    """
    for trial in records.open:
        record = records[trial.number]
        if record.state == TrialState.PAUSED:
            continue
        if record.state != TrialState.RUNNING:
            records.close(trial.number)
        elif not record.is_drawn:
            records.tell(trial.number, state=TrialState.REJECTED, cause=UNPROPOSED)
            if "fixed_params" in trial.system_attrs:
                why = {name: trial.user_attrs[name] for name in QUEUED if name in trial.user_attrs}
                study.enqueue_trial(trial.system_attrs["fixed_params"], user_attrs=why)
    for record in [r for r in records.all if r.state == TrialState.RUNNING]:
        if record.attempts:
            records.note(record.number, attempts=with_cause(record, cause=DRIVER_GONE))
        else:  # perhaps it was about to be turned down
            is_taken(record.number)
    return [r for r in records.all if r.state == TrialState.RUNNING]
