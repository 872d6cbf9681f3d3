"""The front in a terminal: of one run or several, as a table, JSON or CSV."""

import json
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from nas.errors import ConfigError, NasError
from nas.files import write_whole
from nas.results.front import COLUMNS, COST_LABELS, dominated_by, front, knee, load
from nas.results.noise import noise_of, tied
from nas.results.pictures import draw_front
from nas.results.points import labels
from nas.search.folder import RunFolder, read_run
from nas.units import count, percent, quantity

FEW = 3  # names of what dominates a baseline
TIES = 6
WIDE = 140  # columns where nobody's terminal says how many
Output = Literal["table", "json", "csv"]


def show_front(
    root: Path,
    console: Console,
    *,
    others: tuple[Path, ...] = (),
    x: str | None = None,
    max_macs: int | None = None,
    output: Output = "table",
) -> None:
    """Print the front of a run, or that of several together; of one run as it is, its tables and picture are written as well.

    `x` takes another cost than the search's own, `max_macs` leaves out what costs more. NasError without a finished trial.
    """
    roots = (Path(root), *others)
    searches = [read_run(r)[1] for r in roots]
    trials = load(*roots)
    costs = (x,) if x else searches[0].objectives[1:]
    if not others and x is None and max_macs is None:
        write_tables(roots[0], trials, costs)
    require_finished(trials, roots)
    able = trials if max_macs is None else trials[trials["macs"] <= max_macs]
    able.attrs = trials.attrs
    best = front(able, costs[0], "accuracy", *costs[1:])
    if not len(best):
        cheapest = f", and the cheapest finished one has {count(_finished(trials)['macs'].min())}" if max_macs else ""
        raise NasError(f"{_names(roots)}: no finished trial is inside the limits{cheapest}. Give a larger --max-macs.")
    if output == "json":
        print_json(best[COLUMNS if not others else ["run", *COLUMNS]], console)
    elif output == "csv":
        console.file.write(best.drop(columns=["curve", "architecture"]).to_csv(index=False))
    else:
        _print(able, best, costs, roots, console)


def write_tables(root: Path, trials: pd.DataFrame, costs: tuple[str, ...]) -> None:
    """Write trials.csv, front.csv and, once a training was whole, front.png; where nothing can be written, say so."""
    try:
        write_whole(root / "trials.csv", trials[COLUMNS].to_csv(index=False))
        best = front(trials, costs[0], "accuracy", *costs[1:]) if trials["accuracy"].notna().any() else trials.iloc[:0]
        write_whole(root / "front.csv", best[COLUMNS].to_csv(index=False))
        if len(best):
            draw_front(trials, best, cost=costs[0], path=root / "front.png")
    except NasError as error:  # somebody else's run, say: its front can be looked at all the same
        Console(stderr=True).print(f"nothing was written: {error}", highlight=False, soft_wrap=True)


def require_finished(trials: pd.DataFrame, roots: tuple[Path, ...]) -> None:
    """NasError that says what failed and why, if no affordable training was whole."""
    if len(_finished(trials)):
        return
    ended = trials[trials["state"].isin(["failed", "stopped"])]
    causes = (ended["state"] + ": " + ended["cause"].fillna("")).value_counts()
    why = "".join(f"\n  {number} x {cause}" for cause, number in causes.head(5).items())
    raise NasError(
        f"{_names(roots)}: no trial has finished yet, so there is no front.{why}\nContinue the search and look again."
    )


def _finished(trials: pd.DataFrame) -> pd.DataFrame:
    return trials[(trials["state"] == "complete") & trials["affordable"].astype(bool)]


def _names(roots: tuple[Path, ...]) -> str:
    return ", ".join(map(str, roots))


def print_json(best: pd.DataFrame, console: Console) -> None:
    rows = json.loads(best.to_json(orient="records"))
    for row in rows:
        row |= {name: json.loads(row[name]) for name in ("curve", "architecture")}
    console.print_json(data=rows)


# The table


def _print(trials: pd.DataFrame, best: pd.DataFrame, costs: tuple[str, ...], roots: tuple[Path, ...], console: Console) -> None:
    against = " and ".join(COST_LABELS.get(c, c) for c in costs)
    console.print(f"[bold]Pareto front of {_names(roots)}[/]: accuracy against {against}", soft_wrap=True)
    console.print(_table(trials, best, costs))
    lines = [*_ties(trials, best, costs[0]), *(_trust(r, several=len(roots) > 1) for r in roots)]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def _table(trials: pd.DataFrame, best: pd.DataFrame, costs: tuple[str, ...]) -> Table:
    """The front, cheapest first, and every trained baseline in its place with what beats it."""
    baselines = trials[trials["baseline"].notna() & (trials["state"] == "complete") & ~trials.index.isin(best.index)]
    shown = pd.concat([best, baselines]).sort_values([costs[0], "accuracy"], kind="stable")
    shown.attrs = trials.attrs
    beaten = dominated_by(trials, costs[0], "accuracy", *costs[1:])
    bend = knee(trials, costs[0])
    names = labels(shown)
    table = Table(box=None, pad_edge=False, header_style="bold")
    extra = [c for c in costs if c not in ("macs", "params")]
    for column in ("trial", "accuracy", "±", "MACs", "params", *extra):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("architecture", no_wrap=True)
    table.add_column("")
    for i, row in shown.iterrows():
        cells = [
            percent(row["accuracy"]),
            _half(row),
            count(row["macs"]),
            count(row["params"]),
            *(count(row[c]) for c in extra),
        ]
        table.add_row(
            names[i], *cells, row["line"], _remark(row, beaten[i], is_knee=i == bend), style=None if i in best.index else "dim"
        )
    return table


def _half(row: pd.Series) -> str:
    """Half the width of the interval, in points."""
    half = (row["accuracy_high"] - row["accuracy_low"]) / 2
    return "" if pd.isna(half) else f"{100 * half:.1f}"


def _remark(row: pd.Series, beaten: tuple[str, ...], *, is_knee: bool) -> str:
    parts = ["knee"] if is_knee else []
    if pd.notna(row["baseline"]):
        parts.append(str(row["baseline"]))
        if not row["affordable"]:
            parts.append("outside the constraints")
        few = ", ".join(beaten[:FEW]) + (f" and {len(beaten) - FEW} more" if len(beaten) > FEW else "")
        parts.append(f"dominated by {few}" if beaten else "not dominated")
    return ", ".join(parts)


def _ties(trials: pd.DataFrame, best: pd.DataFrame, x: str) -> list[str]:
    """Which other networks the noise leaves a place on the front."""
    found = tied(trials, best, x)
    if not len(found):
        return []
    found.attrs = trials.attrs
    names = ", ".join(labels(found)[:TIES]) + (f" and {len(found) - TIES} more" if len(found) > TIES else "")
    return [f"ties: {len(found)} more could be on the front within the noise: trials {names}"]


def _trust(root: Path, *, several: bool) -> str:
    folder = RunFolder(root)
    return f"{f'{root}: ' if several else ''}±: {noise_of(folder)}\n{_quote(folder)}"


def _quote(folder: RunFolder) -> str:
    """What the calibration says; reading one takes torch, which a run without one does not wait for."""
    if not (folder.calibration / "calibration.json").exists():
        how = f"nas calibrate YOUR_SEARCH.yaml --out {folder.root}"
        return f"proxy: never calibrated, so nobody knows how far its ranking can be trusted; measure it: {how}"
    from nas.results.calibrate import quote

    return quote(folder.root)


def most_macs(given: str | None) -> int | None:
    """A limit such as 1.5G as a number; ConfigError with the form for anything else."""
    found = None if given is None else quantity(given)
    if given is not None and (not isinstance(found, int) or found <= 0):
        raise ConfigError(f"--max-macs: must be a count such as 1.5G or 800M, but got {given!r}. Write a number and its unit.")
    return found
