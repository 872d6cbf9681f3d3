"""What quantisation did to networks of a run: their accuracy and time in int8, and whose order it changes."""

from typing import Any, NamedTuple

import pandas as pd

from nas.errors import NasError
from nas.results.points import labels
from nas.run.additions import INT8
from nas.run.reading import Reading
from nas.terminal import command
from nas.units import percent

ACCURACY_INT8, LATENCY_INT8, POINTS = "accuracy_int8", "latency_int8_ms", "lost_int8"
PAIRS_SHOWN = 3


def with_int8(trials: pd.DataFrame, reading: Reading) -> pd.DataFrame:
    """The table with each network's accuracy in int8, what that is below float's on the same images, and its time."""
    last: dict[int, dict[str, Any]] = {}
    for each in sorted((a for a in reading.additions if a.kind == INT8), key=lambda a: a.value["measured"]):
        last[each.trial] = each.value
    lost = {number: value["accuracy"] - value["accuracy_int8"] for number, value in last.items()}
    trials[ACCURACY_INT8] = trials["trial"].map({n: v["accuracy_int8"] for n, v in last.items()}).astype(float)
    trials[LATENCY_INT8] = trials["trial"].map({n: v["latency_int8_ms"] for n, v in last.items()}).astype(float)
    trials[POINTS] = trials["trial"].map(lost).astype(float)
    return trials


def as_int8(trials: pd.DataFrame, *, where: str) -> pd.DataFrame:
    """The quantised networks as they are expected to be in int8: less what int8 cost each on the images it was judged by.

    NasError where none was quantised.
    """
    able = trials[trials[POINTS].notna()].copy()
    if not len(able):
        way_out = command("quantize", where, "--front")
        raise NasError(f"{where}: must hold networks in int8, but none was quantised. Do that first: {way_out}")
    for column in ("expected", "accuracy_low", "accuracy_high"):
        able[column] = (able[column] - able[POINTS]).clip(0, 1)
    able.attrs = trials.attrs
    return able


class Swap(NamedTuple):
    """Two networks that int8 puts into the other order; the first is ahead in float."""

    ahead: str
    behind: str
    in_float: tuple[float, float]
    in_int8: tuple[float, float]

    def __str__(self) -> str:
        before, after = (" and ".join(map(percent, pair)) for pair in (self.in_float, self.in_int8))
        return f"{self.ahead} and {self.behind} ({before} in float, {after} in int8)"


def swaps(trials: pd.DataFrame) -> list[Swap]:
    """Pairs of quantised networks whose order by accuracy int8 turns round, the widest turn first."""
    rows = trials[trials[POINTS].notna()]
    names = labels(rows)
    points = [(names[i], row[ACCURACY_INT8] + row[POINTS], row[ACCURACY_INT8]) for i, row in rows.iterrows()]
    turned = [
        Swap(one, other, (before, its_before), (after, its_after))
        for one, before, after in points
        for other, its_before, its_after in points
        if before > its_before and after < its_after
    ]
    return sorted(turned, key=lambda s: s.in_int8[0] - s.in_int8[1] - s.in_float[0] + s.in_float[1])


def int8_in_words(trials: pd.DataFrame) -> str | None:
    """What int8 did to the networks of a table; None where none was quantised."""
    lost = 100 * trials[POINTS].dropna()
    if not len(lost):
        return None
    turned = swaps(trials)
    more = f" and {len(turned) - PAIRS_SHOWN} more pairs" if len(turned) > PAIRS_SHOWN else ""
    order = f"another order of {', '.join(map(str, turned[:PAIRS_SHOWN]))}{more}" if turned else "the order stays"
    return f"int8: {len(lost)} networks lose {lost.median():.1f} points (median), {lost.max():.1f} at most; {order}"
