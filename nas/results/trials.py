"""A run's trials as one pandas table: what became of each, what it costs, how sure its accuracy is, what it is made of."""

import json
from typing import Any

import numpy as np
import pandas as pd

from nas.errors import NasError
from nas.results.latencies import latencies
from nas.results.noise import interval, noise_of, replicates
from nas.run.reading import Reading, parsed
from nas.run.settings import Search
from nas.space.architecture import in_short
from nas.space.cost import Cost

STAGED = ("mixer", "depth", "width", "norm", "activation", "mlp_ratio", "pool_size", "kernel_size", "expansion", "head_dim")


def table(reading: Reading, columns: list[str], *, latency: str | None = None) -> pd.DataFrame:
    """One row a trial: `columns`, then run, affordable, accuracy_low and _high, began, ended.

    Rejected proposals are left out. A trial that is being written has the state running until its last fact is there.
    `latency` names the recorded conditions that latency_ms is of.
    """
    rows = [_told(r) for r in reading.rows if r.get("state") != "rejected" and "architecture" in r]
    try:
        found = _typed(pd.DataFrame({name: [r.get(name) for r in rows] for name in (*columns, "began", "ended")}))
    except (ValueError, TypeError, KeyError) as error:
        raise NasError(
            f"{reading.folder.root}: its record holds what no search of ours writes ({str(error)[:200]}). Nothing was changed. "
            "Restore it from a backup."
        ) from None
    found["run"] = reading.folder.root.resolve().name
    found["affordable"] = _affordable(found, reading.search)
    found = _with_replicates(found, reading)
    found["latency_ms"] = found["trial"].map(latencies(reading, latency)).astype(float)
    found.attrs = {"runs": 1}
    return found


def _with_replicates(found: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """The table with the means of trials that were trained again in the place of the one accuracy each was chosen for.

    That one is left out of the mean: who is picked because a number is high is rarely as good as the number.
    """
    again = replicates(reading).reindex(found["trial"])
    number = again["replicates"].fillna(0).astype(int).to_numpy()
    found["accuracy_first"] = found["accuracy"]
    found["accuracy"] = np.where(number > 0, again["mean"], found["accuracy"])
    found["accuracy_sd"], found["replicates"] = again["sd"].to_numpy(), number
    found["replicates_seconds"] = again["seconds"].fillna(0.0).to_numpy(float)
    found["replicates_failed"] = again["failed"].fillna(0).astype(int).to_numpy()
    noise, trainings = noise_of(reading), np.maximum(number, 1)
    found["accuracy_low"], found["accuracy_high"] = interval(found["accuracy"], noise, trainings=trainings)
    return found


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """The facts of a trial with the sampler's reasons beside them, `why` being who proposed it; lists and mappings as JSON."""
    why = row.get("why")
    spread = {**row, **why, "why": why.get("by")} if isinstance(why, dict) else row
    return {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in spread.items()}


def _typed(found: pd.DataFrame) -> pd.DataFrame:
    found["state"] = found["state"].fillna("running")
    for name in ("began", "ended"):
        found[name] = pd.to_datetime(found[name], format="ISO8601")
    found["accuracy"] = pd.to_numeric(found["accuracy"]).astype(float)
    for name in ("seconds", "repeated"):
        found[name] = pd.to_numeric(found[name]).fillna(0.0)
    found["curve"] = found["curve"].fillna("[]")
    found["epochs"] = [max((e["epoch"] for e in curve), default=0) for curve in parsed(found["curve"].tolist())]
    for name in Cost._fields:
        found[name] = pd.to_numeric(found[name]).fillna(0).astype("int64")
    return found


def described(trials: pd.DataFrame) -> pd.DataFrame:
    """The table with each architecture's readable `line` and every stage's choices as columns stage1_mixer, ..."""
    try:
        made = [_described(a["stages"]) for a in parsed(trials["architecture"].tolist())]
    except (ValueError, KeyError, TypeError) as error:
        raise NasError(
            f"{', '.join(trials['run'].unique())}: holds architectures that this version cannot read ({error!r}). "
            "Look at it with the version that search.yaml names under `run: versions: nas`."
        ) from None
    columns = pd.DataFrame(made, index=trials.index)
    found = pd.concat([trials.drop(columns=columns.columns, errors="ignore"), columns], axis=1)
    found.attrs = trials.attrs
    return found


def _described(stages: list[dict[str, Any]]) -> dict[str, Any]:
    line = " ".join(in_short(s["mixer"], s["depth"], s["width"]) for s in stages)
    staged = {f"stage{i}_{f}": s[f] for i, s in enumerate(stages, start=1) for f in STAGED if s.get(f) is not None}
    return {"line": line, **staged}


def _affordable(found: pd.DataFrame, search: Search) -> np.ndarray:
    """What `Constraints.allow` says of each row."""
    limits = {name: getattr(search.constraints, name) for name in type(search.constraints).model_fields}
    inside = [found[n].between(m.min or 0, np.inf if m.max is None else m.max) for n, m in limits.items()]
    return np.logical_and.reduce(inside)


def curves(trials: pd.DataFrame) -> dict[Any, list[dict[str, Any]]]:
    """The learning curve of each row that has one, by its index label."""
    return {i: json.loads(text) for i, text in trials["curve"].items() if text and text != "[]"}
