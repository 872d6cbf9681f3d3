"""A run's trials as one pandas table: what became of each, what it costs, how sure its accuracy is, what it is made of."""

import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from nas.errors import NasError, in_one_line
from nas.recipes.signals import LOSSES, RANKING_SIGNALS
from nas.results.columns import own_columns
from nas.results.int8 import with_int8
from nas.results.latencies import latencies, on_devices
from nas.results.luck import expected_accuracies
from nas.results.noise import (
    JudgedBy,
    Noise,
    Right,
    answers,
    judged_by,
    judged_by_losses,
    margins,
    noise_of,
    replicates,
    seed_margin,
)
from nas.results.points import complete
from nas.run.reading import Reading, as_written, check_parts, parsed
from nas.run.record import Reasons, Record, damaged
from nas.run.settings.search import Search
from nas.space.architecture import settings_of_stages
from nas.space.costs import COUNTED, ON, device_in, limited_by, measured_as
from nas.space.mixers import in_short

AS_RECORDED = (
    "baseline", "accuracy", "seconds", "repeated", "cause", "start", "answered_from", "key", "seed", "manifest",
)  # fmt: skip
"""Columns that are fields of a record."""


def trial_table(reading: Reading, columns: list[str], *, latency: str | None = None) -> pd.DataFrame:
    """One row a trial: `columns`, then began and ended, run, within_limits, and accuracy's interval and seeds.

    Rejected proposals are left out. A trial that is being written has the state running until its last fact is there.
    `latency` names the recorded conditions that latency_ms is of.
    """
    courses = _courses(reading)
    epochs = {number: max((epoch["epoch"] for epoch in curve), default=0) for number, curve in courses.items()}
    rows = [{**_row(record), "epochs": epochs[record.number]} for record in reading.trials]
    names = (*columns, *own_columns(reading.search), "began", "ended")
    trials = _typed(pd.DataFrame({name: [row.get(name) for row in rows] for name in names}))
    for name, measured in on_devices(reading).items():
        trials[measured_as(name)] = trials["trial"].map(measured).astype(float)
    trials["run"] = reading.folder.root.resolve().name
    trials["within_limits"] = _affordable(trials, reading.search)
    trials = _with_replicates(_with_losses(trials, courses if judged_by_losses(reading) else {}), reading)
    trials["latency_ms"] = trials["trial"].map(latencies(reading, latency)).astype(float)
    trials = with_int8(trials, reading)
    trials.attrs = {"runs": 1}
    return trials


def _with_losses(trials: pd.DataFrame, courses: dict[int, list[dict[str, Any]]]) -> pd.DataFrame:
    """The table with what the losses of each whole training say, see `nas.recipes.signals`; larger is better."""
    whole = dict.fromkeys(complete(trials)["trial"])
    able = {n: courses[n] for n in whole if n in courses and all("steps" in epoch for epoch in courses[n])}
    epochs = {number: [SimpleNamespace(**epoch) for epoch in curve] for number, curve in able.items()}
    for name in LOSSES:
        values = {number: RANKING_SIGNALS[name].of(curve) for number, curve in epochs.items() if curve}
        trials[name] = trials["trial"].map(values).astype(float)
    return trials


def _with_replicates(trials: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """The table with the means of trials that were trained again in the place of the one accuracy each was chosen for.

    That one is left out of the mean: who is picked because a number is high is rarely as good as the number.
    """
    again = replicates(reading).reindex(trials["trial"])
    number = again["replicates"].fillna(0).astype(int).to_numpy()
    trials["accuracy_first"] = trials["accuracy"]
    trials["accuracy"] = np.where(number > 0, again["mean"], trials["accuracy"])
    trials["accuracy_sd"], trials["replicates"] = again["sd"].to_numpy(), number
    trials["replicates_seconds"] = again["seconds"].fillna(0.0).to_numpy(float)
    trials["replicates_failed"] = again["failed"].fillna(0).astype(int).to_numpy()
    noise, trainings = noise_of(reading), np.maximum(number, 1)
    trials["below"], trials["above"] = margins(trials["accuracy"], noise, trainings=trainings)
    trials["seed_margin"] = seed_margin(noise, trainings=pd.Series(trainings, index=trials.index))
    return _with_intervals(_with_answers(trials, reading), noise)


def _with_intervals(trials: pd.DataFrame, noise: Noise) -> pd.DataFrame:
    """The table with what is expected of each network under other seeds, and the 95 % interval around that.

    It holds the accuracy as well, however lucky that was.
    """
    trials["expected"] = expected = expected_accuracies(trials, noise)
    trials["accuracy_low"] = np.minimum(expected - trials["below"], trials["accuracy"]).clip(0, 1)
    trials["accuracy_high"] = np.maximum(expected + trials["above"], trials["accuracy"]).clip(0, 1)
    return trials


def _with_answers(trials: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """The table with what each network got right, and its accuracy if all classes counted alike."""
    judged = judged_by(reading)
    trials["right"], trials["balanced_accuracy"] = None, np.nan
    if judged is None:
        return trials
    manifests = {record.number: record.manifest or "" for record in reading.trials}
    rights = {number: _right(texts, judged, manifests[number]) for number, texts in answers(reading).items()}
    balanced = {number: judged.balanced(right.shares()) for number, right in rights.items() if right is not None}
    trials["right"] = pd.Series([rights.get(number) for number in trials["trial"]], index=trials.index, dtype=object)
    trials["balanced_accuracy"] = trials["trial"].map(balanced).astype(float)
    return trials


def _right(texts: tuple[str, ...], judged: JudgedBy, manifest: str) -> Right | None:
    """The answers of a network to the images that the manifest lists; None where they are to others."""
    right = Right(len(judged.labels), texts, manifest)
    try:
        right.shares()
    except ValueError:
        return None
    return right


def _row(record: Record) -> dict[str, Any]:
    """A trial by column; lists and mappings as JSON."""
    why = record.why or Reasons()
    lists = {
        "attempts": [attempt.to_dict() for attempt in record.attempts],
        "parents": why.parents,
        "changes": why.changes,
    }
    return {
        **{name: getattr(record, name) for name in AS_RECORDED},
        **record.cost.by_name(),
        "predicted": why.predicted,
        "predicted_sd": why.spread,
        "expected_gain": why.expected_gain,
        "belief_score": why.belief_score,
        **{name: json.dumps(value) if value else None for name, value in lists.items()},
        "began": record.began_at,
        "ended": record.ended_at,
        "trial": record.number,
        "state": record.state.value,
        "proposed_by": why.by,
        "source": str(record.source) if record.source is not None else None,
        "architecture": _text(record.architecture_data),
        "curve": _text(record.curve_data),
    }


def _text(data: Any) -> str:
    return data if isinstance(data, str) else json.dumps(data)


def _courses(reading: Reading) -> dict[int, list[dict[str, Any]]]:
    """By trial the epochs that were put down; NasError where a curve is none."""
    trials, courses = reading.trials, {}
    try:
        loaded = parsed([_text(r.curve_data) for r in trials])
    except ValueError:  # of one of them
        with as_written(reading.folder):
            check_parts(trials)
        raise
    for record, curve in zip(trials, loaded, strict=True):
        try:
            courses[record.number] = [{**epoch, "epoch": int(epoch["epoch"])} for epoch in curve]
        except (ValueError, TypeError, KeyError) as error:
            why = f"must be a list of epochs, but: {in_one_line(error)}"
            raise NasError(f"{reading.folder.root}: {damaged(record.number, 'curve', why)}") from None
    return courses


def _typed(trials: pd.DataFrame) -> pd.DataFrame:
    for name in ("began", "ended"):
        trials[name] = pd.to_datetime(trials[name])
    trials["accuracy"] = trials["accuracy"].astype(float)
    for name in COUNTED:
        trials[name] = trials[name].astype("int64")
    for name in trials.columns[[ON in column for column in trials.columns]]:
        trials[name] = trials[name].astype(float)
    return trials


def with_choices(trials: pd.DataFrame) -> pd.DataFrame:
    """The table with each architecture's readable `stages`, head and stem, and every stage's choices as stage1_mixer, ..."""
    if "stages" in trials:
        return trials
    try:
        made = [_described(architecture) for architecture in parsed(trials["architecture"].tolist())]
    except (ValueError, KeyError, TypeError) as error:
        raise NasError(
            f"{', '.join(trials['run'].unique())}: holds architectures that this version cannot read ({error!r}). "
            "Look at it with the version that search.yaml names under `run: versions: nas`."
        ) from None
    columns = pd.DataFrame(made, index=trials.index)
    wider = pd.concat([trials.drop(columns=columns.columns, errors="ignore"), columns], axis=1)
    wider.attrs = trials.attrs
    return wider


def _described(architecture: dict[str, Any]) -> dict[str, Any]:
    stages = architecture["stages"]
    extras = ("mlp", "se_ratio")  # which older records lack
    line = " ".join(in_short(s["mixer"], s["depth"], s["width"], **{e: s[e] for e in extras if e in s}) for s in stages)
    network = {name: value for name, value in architecture.items() if name != "stages"}
    staged = {
        f"stage{i}_{f}": s[f] for i, s in enumerate(stages, start=1) for f in settings_of_stages() if s.get(f) is not None
    }
    return {"stages": line, **network, **staged}


def stage_columns(trials: pd.DataFrame, field: str) -> dict[int, str]:
    """The table's column of a choice for each stage that has it, by the stage's number."""
    matches = (re.fullmatch(rf"stage(\d+)_{field}", column) for column in trials.columns)
    return {int(match[1]): match[0] for match in matches if match}


def _affordable(trials: pd.DataFrame, search: Search) -> np.ndarray:
    """What `Constraints.allow` says of each row, or what was measured on a device whose limit it is."""
    inside = [np.ones(len(trials), bool)]
    for name, limits in search.constraints.limits.items():
        values = trials[limited_by(name)]
        if device_in(name):  # what was measured is known better than what was foretold
            values = trials[measured_as(name)].fillna(values)
        inside.append(values.between(limits.min or 0, np.inf if limits.max is None else limits.max))
    return np.logical_and.reduce(inside)


def curves_by_row(trials: pd.DataFrame) -> dict[Any, list[dict[str, Any]]]:
    """The learning curve of each row that has one, by its index label."""
    return {i: json.loads(text) for i, text in trials["curve"].items() if text and text != "[]"}
