"""The columns of a table of trials, and what each cost is called where a reader sees it."""

import json
from functools import lru_cache

import pandas as pd

from nas.errors import NasError, in_one_line
from nas.run.settings.search import Search
from nas.space.architecture import Architecture
from nas.space.costs import COUNTED, cost_kind, ends_of, is_cost, measured_as

COLUMNS = [
    "trial", "state", "baseline", "accuracy", "expected", "balanced_accuracy", "accuracy_sd", "replicates", "macs", "params",
    *(name for name in COUNTED if name not in ("macs", "params")),
    "latency_ms", "accuracy_int8", "latency_int8_ms", "epochs", "seconds", "repeated", "attempts",
    "cause", "proposed_by", "predicted", "predicted_sd", "expected_gain", "belief_score", "parents", "changes",
    "start", "answered_from", "source", "key", "seed", "manifest", "curve", "architecture",
]  # fmt: skip


def axis_label(column: str) -> str:
    """What the axis of a cost is called, the unit included; any other column's own name."""
    return cost_kind(column).label if is_cost(column) else column


def own_columns(search: Search) -> list[str]:
    """What a table of trials holds besides: costs at other image sizes; of each device what is foretold, the ends of its
    interval, what was measured."""
    return list(search.sizes) + [column for name in search.foretold for column in (name, *ends_of(name), measured_as(name))]


def with_cost(trials: pd.DataFrame, name: str, search: Search) -> pd.DataFrame:
    """The table with a column such as `macs@512`, counted where the search itself did not."""
    if name in trials:
        return trials
    return trials.assign(**{name: [float(search.cost_at(name, _read(text))) for text in trials["architecture"]]})


def one_size(trials: pd.DataFrame) -> pd.Series:
    """For each row whether its network fits the image size only that it was trained at."""
    return pd.Series([_read(text).needs_fixed_resolution for text in trials["architecture"]], index=trials.index, dtype=bool)


def of_plugins(trials: pd.DataFrame) -> pd.Series:
    """For each row whether its network has a mixer of a plugin's, whose code is not run where a run is read."""
    plugged = [any(stage.plugin for stage in _read(text).stages) for text in trials["architecture"]]
    return pd.Series(plugged, index=trials.index, dtype=bool)


@lru_cache(10_000)
def _read(text: str) -> Architecture:
    try:
        return Architecture.model_validate(json.loads(text))
    except (ValueError, TypeError) as error:
        raise NasError(
            f"the record must hold architectures that this version can read, but one is not: {in_one_line(error)}. Look at it "
            "with the version that search.yaml names under `run: versions: nas`."
        ) from None
