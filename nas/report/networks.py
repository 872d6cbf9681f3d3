"""A front and its baselines as lines for a terminal of any width."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import pandas as pd
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from nas.results.int8 import ACCURACY_INT8, LATENCY_INT8
from nas.results.standing import Entry, Standing
from nas.space.costs import OF, cost_kind, device_in, measured_as
from nas.space.mixers import legend
from nas.units import count, percent

GAP = 2  # columns of a terminal between two of a table


class Column(NamedTuple):
    """What a table says of each network under one heading."""

    heading: str
    write: Callable[[Entry], str]


def show_networks(entries: list[Entry], ranked: Standing, console: Console, *, uneven: bool) -> None:
    """Print the searched networks and the front, then the baselines in a block of their own, then what the letters mean.

    Each takes one line where the terminal is wide enough; else its remark stands below, or all of it becomes a sentence.
    `uneven` shows how good it is if all classes count alike.
    """
    columns = _columns(ranked, uneven=uneven)
    others = [entry for entry in entries if not entry.on_front and entry.design is not None]
    blocks = {"": [entry for entry in entries if entry not in others], "Baselines": others}
    rows = {title: [_cells(entry, columns) for entry in block] for title, block in blocks.items()}
    headings = [*(column.heading for column in columns), "architecture"]
    widths = [max(map(cell_len, cells)) for cells in zip(headings, *rows[""], *rows["Baselines"], strict=True)]
    for title, block in blocks.items():
        if not block:
            continue
        if title:
            console.print(title, style="bold")
        _show_block(block, rows[title], headings, widths, console, has_head=not title)
    console.print(legend(row[-1] for row in rows[""]), soft_wrap=True)


def _cells(entry: Entry, columns: list[Column]) -> list[str]:
    """A network's line, which ends with its architecture or, among the baselines, with its name."""
    last = entry.row["stages"] if entry.on_front or entry.design is None else entry.design
    return [*(column.write(entry) for column in columns), last]


def _show_block(
    block: list[Entry], rows: list[list[str]], headings: list[str], widths: list[int], console: Console, *, has_head: bool
) -> None:
    """Networks in the widest form that the terminal has room for."""
    width = sum(widths) + GAP * len(widths)
    remarks = [entry.remark for entry in block]
    if width - GAP > console.width:
        for row, remark in zip(rows, remarks, strict=True):
            facts = ", ".join(f"{heading} {cell}" for heading, cell in zip(headings[:-1], row, strict=False) if cell)
            console.print(f"{facts}, {row[-1]}{'; ' if remark else ''}{remark}", soft_wrap=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", show_header=has_head, padding=(0, GAP, 0, 0))
    for i, heading in enumerate(headings):
        table.add_column(heading, min_width=widths[i], no_wrap=True, justify="left" if i == len(widths) - 1 else "right")
    has_room = width + max(map(cell_len, remarks), default=0) <= console.width
    table.add_column("")
    for entry, row in zip(block, rows, strict=True):
        table.add_row(*row, entry.remark if has_room else "", style=None if entry.on_front or entry.design else "dim")
    console.print(table)
    for entry in block if not has_room else []:
        if entry.remark:
            console.print(f"{entry.label}: {entry.remark}", soft_wrap=True)


def _columns(ranked: Standing, *, uneven: bool) -> list[Column]:
    """A column where every cell would say the same as another is left out."""
    columns = [
        Column("trial", lambda e: e.label),
        Column("accuracy", partial(_percent_of, column="accuracy")),
        Column("±", _half),
    ]
    if ranked.is_lucky:
        columns.append(Column("expected", partial(_percent_of, column="expected")))
    if uneven:
        columns.append(Column("balanced", partial(_percent_of, column="balanced_accuracy")))
    if ranked.best["replicates"].any():
        columns.append(Column("seeds", lambda e: str(max(e.row["replicates"], 1))))
    if ranked.trials[ACCURACY_INT8].notna().any():
        columns.append(Column("in int8", partial(_percent_of, column=ACCURACY_INT8)))
        columns.append(Column(cost_kind(LATENCY_INT8).heading, partial(_cost_of, cost=LATENCY_INT8)))
    columns += [Column("MACs", lambda e: count(e.row["macs"])), Column("params", lambda e: count(e.row["params"]))]
    return columns + [Column(heading, partial(_cost_of, cost=cost)) for heading, cost in _other_costs(ranked)]


def _other_costs(ranked: Standing) -> Iterable[tuple[str, str]]:
    """By heading the costs beyond MACs and params: those that are weighed, and of each device what is foretold and measured."""
    for cost in ranked.costs:
        if cost not in ("macs", "params", LATENCY_INT8) and not device_in(cost):
            yield cost_kind(cost).heading, cost
    for cost in filter(device_in, ranked.trials.columns):
        yield cost_kind(cost).heading, cost
        if ranked.trials[measured_as(cost)].notna().any():
            yield f"measured {device_in(cost)}", measured_as(cost)


def _percent_of(entry: Entry, *, column: str) -> str:
    return percent(None if pd.isna(entry.row[column]) else entry.row[column])


def _cost_of(entry: Entry, *, cost: str) -> str:
    return "" if pd.isna(entry.row[cost]) else cost_kind(cost.partition(OF)[0]).write(entry.row[cost])


def _half(entry: Entry) -> str:
    """Half the width of the interval, in points."""
    half = (entry.row["accuracy_high"] - entry.row["accuracy_low"]) / 2
    return "" if pd.isna(half) else f"{100 * half:.1f}"
