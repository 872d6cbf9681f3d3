"""The front and the trained baselines in one order, with what there is to say of each."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from nas.errors import few
from nas.results.noise import rivals, tied
from nas.results.points import complete, dominators, front, is_whole, knee_of, labels
from nas.results.trials import with_choices
from nas.space.mixers import positional

ONE_SIZE = "one image size"  # remark of a network that takes no other than it was trained at
NAMES_SHOWN = 3  # names of what dominates a baseline


class Entry(NamedTuple):
    """One network of a list for a reader."""

    label: str
    row: pd.Series
    on_front: bool
    design: str | None
    """A baseline's name."""
    remark: str


class Standing(NamedTuple):
    """A table of trials and which of them matter, against the costs that were asked for."""

    trials: pd.DataFrame
    costs: tuple[str, ...]
    best: pd.DataFrame
    """The front of what is expected, not of what was measured: one training's luck gives no place on it."""
    open: pd.DataFrame
    """What else could be on it within the noise."""
    knee: int | None

    @property
    def is_lucky(self) -> bool:
        """Whether what is expected of the front is anything else than what was seen of it."""
        return bool((self.best["expected"] != self.best["accuracy"]).any())


def standing(trials: pd.DataFrame, costs: tuple[str, ...]) -> Standing:
    """The front of the expected accuracy against `costs`, what is tied with it, and its knee against the first of them."""
    best = front(trials, costs[0], "expected", *costs[1:])
    ranked = Standing(trials, costs, best, tied(trials, best, *costs), knee_of(best, costs[0], "expected"))
    for rows in (ranked.best, ranked.open):
        rows.attrs = trials.attrs
    return ranked


def entries(ranked: Standing) -> list[Entry]:
    """The front and every trained baseline, cheapest first."""
    trials, best = ranked.trials, ranked.best
    return _listed(pd.concat([best, baselines_off(trials, best).dropna(subset=list(ranked.costs))]), ranked)


def baselines_off(trials: pd.DataFrame, best: pd.DataFrame) -> pd.DataFrame:
    """The trained baselines that are not among the rows `best`."""
    done = complete(trials)
    return done[done["baseline"].notna() & ~done.index.isin(best.index)]


def ties(ranked: Standing) -> list[Entry]:
    """What the noise leaves a place on the front, cheapest first; baselines are in `entries`."""
    return _listed(ranked.open[ranked.open["baseline"].isna()], ranked)


def _listed(rows: pd.DataFrame, ranked: Standing) -> list[Entry]:
    beaten = dominators(ranked.trials, ranked.best, ranked.costs[0], "expected", *ranked.costs[1:])
    names, equals = labels(ranked.trials), rivals(ranked.best, *ranked.costs)
    return [
        _entry(i, row, ranked, names[i], _remarks(i, row, ranked, beaten[i], names.get(equals.get(i))))
        for i, row in with_choices(rows.sort_values([ranked.costs[0], "expected"], kind="stable")).iterrows()
    ]


def _entry(i: int, row: pd.Series, ranked: Standing, label: str, remarks: list[str]) -> Entry:
    """A row for a reader; a baseline that is on the front, where architectures stand, says its name in the remark."""
    design, on_front = row["baseline"] if isinstance(row["baseline"], str) else None, i in ranked.best.index
    named = [design] if design is not None and on_front else []
    return Entry(label, row, on_front, design, ", ".join([*named, *remarks]))


def _remarks(i: int, row: pd.Series, ranked: Standing, beaten: tuple[str, ...], equal: str | None) -> list[str]:
    parts = ["knee"] if i == ranked.knee else []
    if isinstance(row["baseline"], str):
        parts += [] if row["within_limits"] else ["outside the constraints"]
        parts.append(f"dominated by {few(beaten, most=NAMES_SHOWN)}" if beaten else "not dominated")
    if isinstance(equal, str):
        parts.append(f"tied with {equal}")
    elif i in ranked.open.index:
        parts.append("tied with the front")
    if _needs_one_size(row):
        parts.append(ONE_SIZE)
    if row["replicates_failed"]:
        failed = row["replicates_failed"]
        parts.append(f"failed under {failed} other seed{'s' if failed > 1 else ''}")
    return parts


def _needs_one_size(row: pd.Series) -> bool:
    """Whether some weights of a network have one entry a position."""
    mixers, embedded = ([v for name, v in row.items() if str(name).endswith(end)] for end in ("_mixer", "_position_embedding"))
    return any(mixer in positional() for mixer in mixers) or any(value is True for value in embedded)


def nearest(ranked: Standing) -> pd.DataFrame:
    """The front, the trained baselines, then every other affordable complete trial by how little it lacks to the front."""
    trials, costs = ranked.trials, list(ranked.costs)
    done = complete(trials).dropna(subset=costs)
    cheaper = (ranked.best[costs].to_numpy(float)[:, None] <= done[costs].to_numpy(float)).all(axis=2)  # (front, N)
    best = np.where(cheaper, ranked.best["expected"].to_numpy()[:, None], -np.inf).max(axis=0)
    lack = pd.Series(np.maximum(best - done["expected"].to_numpy(), 0.0), index=done.index)
    baselines = done[done["baseline"].notna()]
    others = done[is_whole(done)].loc[lambda rows: lack[rows.index].sort_values(kind="stable").index]
    rows = pd.concat([ranked.best, baselines, others])
    return rows[~rows.index.duplicated()]
