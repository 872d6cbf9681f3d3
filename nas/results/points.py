"""Which rows of a table of trials matter: the front of two or three objectives, its volume, its knee, what beats what."""

from pathlib import Path

import numpy as np
import pandas as pd

from nas import pareto
from nas.errors import NasError
from nas.run.record import UNFINISHED, TrialState
from nas.space.costs import cost_kind, is_cost

LARGER_IS_BETTER = ("accuracy", "expected", "balanced_accuracy", "accuracy_int8")  # everything else is a cost


def front(trials: pd.DataFrame, x: str = "macs", y: str = "accuracy", z: str | None = None) -> pd.DataFrame:
    """The rows that no other dominates in these objectives, sorted by `x`; equal ones stand together.

    Only complete trials inside the constraints count; those without a value of an objective are left out.
    """
    able = candidates(trials, *_named(x, y, z))
    chosen = able.iloc[pareto.pareto(minimised(able, x, y, z))]
    return chosen.sort_values([x, y], ascending=[x not in LARGER_IS_BETTER, y not in LARGER_IS_BETTER], kind="stable")


def candidates(trials: pd.DataFrame, *objectives: str) -> pd.DataFrame:
    """The rows that can stand on a front of `objectives`; NasError where one of them was never recorded."""
    for name in objectives:
        if name not in trials or (len(trials) and not pd.api.types.is_numeric_dtype(trials[name].dropna().infer_objects())):
            raise NasError(_missing(name, trials))
    whole = complete(trials) if "state" in trials else trials
    if "within_limits" in whole:
        whole = whole[whole["within_limits"].astype(bool)]
    able = whole.dropna(subset=list(objectives))
    if len(whole) and not len(able):
        empty = next((n for n in objectives if whole[n].isna().all()), objectives[0])
        raise NasError(_missing(empty, trials))
    return able


def _missing(name: str, trials: pd.DataFrame) -> str:
    columns = [c for c in trials if is_cost(c)]
    way_out = (cost_kind(name).way_out if is_cost(name) else None) or f"Choose one of {', '.join(columns)}."
    return f"{name}: an objective must be a number that the record holds, but no trial has one. {way_out}"


def _named(*objectives: str | None) -> list[str]:
    names = [name for name in objectives if name is not None]
    if len(set(names)) != len(names):
        raise NasError(f"objectives must differ, but got {', '.join(names)}. Leave one out.")
    return names


def minimised(trials: pd.DataFrame, *objectives: str | None) -> np.ndarray:
    """`(N, objectives)` with every objective the better the smaller."""
    columns = [(-1 if n in LARGER_IS_BETTER else 1) * trials[n].to_numpy(float) for n in _named(*objectives)]
    return np.stack(columns, axis=1)


def hypervolume(
    trials: pd.DataFrame,
    x: str = "macs",
    y: str = "accuracy",
    z: str | None = None,
    *,
    reference: dict[str, float] | None = None,
) -> float:
    """Share of the box from the ideal to `reference` that the front dominates.

    The box reaches from accuracy 1 to 0 and from no cost to the reference: by default the run's own, by which its report
    measures, and the largest one seen of a cost for which it has none.
    """
    names, corner = _named(x, y, z), reference or trials.attrs.get("reference", {})
    able = candidates(trials, *names)
    if not len(able):
        return 0.0
    columns = [
        1 - able[n].to_numpy(float)
        if n in LARGER_IS_BETTER
        else able[n].to_numpy(float) / corner.get(n, float(trials[n].max()) or 1.0)
        for n in names
    ]
    points = np.stack(columns, axis=1)  # (N, objectives)
    return pareto.hypervolume_of(points[pareto.pareto(points)], [1.0] * len(names))


def knee(trials: pd.DataFrame, x: str = "macs", y: str = "accuracy") -> int | None:
    """Index label of the front's row farthest above the line between its two ends, both axes scaled to 0..1.

    None for a front of fewer than three different points. Satopaa et al., ICDCSW 2011.
    """
    return knee_of(front(trials, x, y), x, y)


def knee_of(best: pd.DataFrame, x: str, y: str = "accuracy") -> int | None:
    """The same of a front that was worked out before."""
    points = minimised(best, x, y)
    if len(np.unique(points, axis=0)) < 3:
        return None
    spread = points.max(axis=0) - points.min(axis=0)
    below = 1 - ((points - points.min(axis=0)) / spread).sum(axis=1)  # distance to the line, but for a factor
    return best.index[int(np.argmax(below))] if below.max() > 1e-12 else None


def dominated_by(trials: pd.DataFrame, x: str = "macs", y: str = "accuracy", z: str | None = None) -> pd.Series:
    """For each row the labels of the front's rows that dominate it, empty for the front itself and what has no value."""
    return dominators(trials, front(trials, x, y, z), x, y, z)


def dominators(trials: pd.DataFrame, best: pd.DataFrame, *objectives: str | None) -> pd.Series:
    """The same for a front that was worked out before."""
    above, points = minimised(best, *objectives), minimised(trials, *objectives)
    no_worse, better = above[:, None] <= points, above[:, None] < points  # (front, N, objectives)
    beaten = np.logical_and(no_worse.all(axis=2), better.any(axis=2))  # (front, N)
    names = labels(best).to_numpy()
    return pd.Series([tuple(names[column]) for column in beaten.T], index=trials.index, dtype=object)


def labels(trials: pd.DataFrame) -> pd.Series:
    """How a trial is called: its number, or RUN:NUMBER where the table holds several runs."""
    numbers = trials["trial"].astype(str) if "trial" in trials else pd.Series(trials.index.astype(str), index=trials.index)
    several = "run" in trials and trials.attrs.get("runs", trials["run"].nunique()) > 1
    return trials["run"] + ":" + numbers if several else numbers


def require_finished(trials: pd.DataFrame, roots: tuple[Path, ...]) -> None:
    """NasError that says what failed and why, if no affordable training was whole."""
    if len(finished(trials)):
        return
    fruitless = trials[trials["state"].isin([TrialState.FAILED, TrialState.STOPPED])]
    causes = (fruitless["state"].astype(str) + ": " + fruitless["cause"].fillna("").astype(str)).value_counts()
    why = "".join(f"\n  {number} x {cause}" for cause, number in causes.head(5).items())
    is_over = not trials["state"].isin(UNFINISHED).any() and len(trials) > 0
    way_out = (
        "Train more: give the search more trials, or mend what failed." if is_over else "Continue the search and look again."
    )
    which = "no trial inside the constraints" if stands_for_a_training(trials).any() else "no trial"
    raise NasError(f"{names_of(roots)}: {which} has finished yet, so there is no front.{why}\n{way_out}")


def trend(trials: pd.DataFrame) -> pd.Series:
    """What the MACs of trials alone would give: a parabola over their logarithm through their accuracies, or less of few."""
    accuracy = trials["accuracy"]
    if len(trials) < 4:
        return pd.Series(accuracy.mean(), index=trials.index)
    log = np.log10(trials["macs"].to_numpy(float).clip(min=1))
    log = log - log.mean()
    degree = min(2 if len(trials) >= 12 else 1, len(np.unique(log)) - 1)
    return pd.Series(np.polyval(np.polyfit(log, accuracy.to_numpy(float), degree), log), index=trials.index)


def complete(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials whose training was whole, baselines and those outside the constraints included."""
    return trials[stands_for_a_training(trials)]


def searched(trials: pd.DataFrame) -> pd.DataFrame:
    """The complete trials that the search proposed itself."""
    return trials[stands_for_a_training(trials) & trials["baseline"].isna()]


def finished(trials: pd.DataFrame) -> pd.DataFrame:
    """The affordable trials whose training was whole."""
    return trials[is_whole(trials)]


def is_whole(trials: pd.DataFrame) -> pd.Series:
    """For each row whether its training was whole and it is inside the constraints: what may stand on a front."""
    return stands_for_a_training(trials) & trials["within_limits"].astype(bool)


def stands_for_a_training(trials: pd.DataFrame) -> pd.Series:
    """For each row whether it is a whole training: its own, or another run's from which it was answered."""
    whole = trials["state"] == TrialState.COMPLETE
    return whole | ((trials["state"] == TrialState.ANSWERED) & trials["source"].notna()) if "source" in trials else whole


def names_of(roots: tuple[Path, ...]) -> str:
    """The folders of runs, as a message names them."""
    return ", ".join(map(str, roots))
