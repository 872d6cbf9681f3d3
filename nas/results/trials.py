"""A run's trials as one pandas table: what became of each, what it costs, how sure its accuracy is, what it is made of."""

import json
from typing import Any

import numpy as np
import pandas as pd

from nas.errors import NasError
from nas.results.noise import interval, noise_of
from nas.results.reading import Reading
from nas.search.settings import Search
from nas.space.architecture import INITIALS
from nas.space.cost import Cost

STAGED = ("mixer", "depth", "width", "norm", "activation", "mlp_ratio", "pool_size", "kernel_size", "expansion", "head_dim")


def table(reading: Reading, columns: list[str]) -> pd.DataFrame:
    """One row a trial: `columns`, then run, line, affordable, accuracy_low and _high, began, ended, and stageN_mixer, ...

    Rejected proposals are left out. A trial that is being written has the state running until its last fact is there.
    """
    rows = [_told(r) for r in reading.rows if r.get("state") != "rejected" and "architecture" in r]
    try:
        made = [_made_of(json.loads(r["architecture"])) for r in rows]
    except (ValueError, KeyError, TypeError) as error:
        raise NasError(
            f"{reading.folder.root}: holds architectures that this version cannot read ({error!r}). "
            "Look at it with the version that search.yaml names under `run: versions: nas`."
        ) from None
    found = _typed(pd.DataFrame({name: [r.get(name) for r in rows] for name in (*columns, "began", "ended")}), rows)
    found["run"] = reading.folder.root.name
    found["affordable"] = _affordable(found, reading.search)
    noise = noise_of(reading.folder)
    found["accuracy_low"], found["accuracy_high"] = interval(found["accuracy"].astype(float), noise)
    found = pd.concat([found, pd.DataFrame(made, index=found.index)], axis=1)
    found.attrs = {"runs": 1}
    return found


def _told(row: dict[str, Any]) -> dict[str, Any]:
    """The facts of a trial with the sampler's reasons beside them, `why` being who proposed it; lists and mappings as JSON."""
    why = row.get("why")
    spread = {**row, **why, "why": why.get("by")} if isinstance(why, dict) else row
    return {name: json.dumps(value) if isinstance(value, list | dict) else value for name, value in spread.items()}


def _typed(found: pd.DataFrame, rows: list[dict[str, Any]]) -> pd.DataFrame:
    found["state"] = found["state"].fillna("running")
    for name in ("began", "ended"):
        found[name] = pd.to_datetime(found[name])
    found["accuracy"] = pd.to_numeric(found["accuracy"])
    found["seconds"] = pd.to_numeric(found["seconds"]).fillna(0.0)
    found["curve"] = found["curve"].fillna("[]")
    found["epochs"] = [_last_epoch(r.get("curve")) for r in rows]
    for name in Cost._fields:
        found[name] = pd.to_numeric(found[name]).fillna(0).astype("int64")
    return found


def _last_epoch(curve: str | None) -> int:
    return max((e["epoch"] for e in json.loads(curve)), default=0) if curve else 0


def _made_of(architecture: dict[str, Any]) -> dict[str, Any]:
    """The readable line and every stage's choices as columns."""
    stages = architecture["stages"]
    line = " ".join(f"{INITIALS.get(s['mixer'], '?')}{s['depth']}·{s['width']}" for s in stages)
    staged = {f"stage{i}_{f}": s[f] for i, s in enumerate(stages, start=1) for f in STAGED if s.get(f) is not None}
    return {"line": line, **staged}


def _affordable(found: pd.DataFrame, search: Search) -> np.ndarray:
    able = np.ones(len(found), dtype=bool)
    for name in type(search.constraints).model_fields:
        limits = getattr(search.constraints, name)
        if limits.min is not None:
            able &= (found[name] >= limits.min).to_numpy()
        if limits.max is not None:
            able &= (found[name] <= limits.max).to_numpy()
    return able


def curves(trials: pd.DataFrame) -> dict[Any, list[dict[str, Any]]]:
    """The learning curve of each row that has one, by its index label."""
    return {i: json.loads(text) for i, text in trials["curve"].items() if text and text != "[]"}
