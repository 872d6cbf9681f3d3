"""The papers' tables beside our own counts: MetaFormers to the last printed digit, other families as near as timm's models are."""

import csv
import json
import sys
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from nas.space.cost import cost
from nas.space.counting import fvcore_macs, params_without_layer_scale
from nas.space.printed import TABLES, PrintedTable, Row
from nas.space.reference import design

CLASSES = 1000
NEAR_SHARE, NEAR_G = 0.03, 0.1  # how far timm's models are from what papers print about other families
EXACT, OFF, NEAR, DIFFERS, ABSENT = "exact", "OFF", "within tolerance", "differs", "no public model"
UNITS = {"all": 1e6, "without LayerScale": 1e6, "core": 1e9, "fvcore": 1e9}
TOLERANCE = f"other families: timm's models, params within {NEAR_SHARE:.0%}, MACs within {NEAR_G} G or {NEAR_SHARE:.0%}"

Counts = dict[str, float]
"""Params (all, without LayerScale, frozen) and MACs (core, fvcore) of one model; a count that was not made is left out."""


class Line(NamedTuple):
    """A printed row beside what we count, and how they agree."""

    row: Row
    counts: Counts
    verdict: str


def our_counts(row: Row) -> Counts:
    """What a design of ours comes to, in both papers' ways of counting."""
    architecture, at = design(row.model), {"image_size": row.image_size, "num_classes": CLASSES}
    found = cost(architecture, **at)
    return {
        "all": found.params,
        "without LayerScale": params_without_layer_scale(architecture, **at),
        "frozen": found.frozen_params,
        "core": found.macs,
        "fvcore": fvcore_macs(architecture, **at),
    }


@cache
def timm_counts(row: Row) -> Counts:
    """What a model of timm comes to, from one pass on the meta device, where nothing is computed; nothing without a model."""
    if row.model is None:
        return {}
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as flops:
        model = timm.create_model(row.model).eval()
        model(torch.empty(1, 3, row.image_size, row.image_size))
    return {"all": sum(p.numel() for p in model.parameters()), "core": flops.get_total_flops() / 2}


def line_of(row: Row, table: PrintedTable) -> Line:
    """`row` counted as `table` counts."""
    if row.family == "other":
        counts = timm_counts(row)
        return Line(row, counts, _nearness(row, counts) if counts else ABSENT)
    counts = our_counts(row)
    pairs = [(row.params, counts[table.params] / 1e6), (row.macs, counts[table.macs] / 1e9)]
    if row.frozen_params is not None:
        pairs.append((row.frozen_params, counts["frozen"] / 1e6))
    return Line(row, counts, EXACT if all(as_printed(value, text) == text for text, value in pairs) else OFF)


def _nearness(row: Row, counts: Counts) -> str:
    params, macs = float(row.params), float(row.macs)
    near = abs(counts["all"] / 1e6 - params) <= NEAR_SHARE * params
    near &= abs(counts["core"] / 1e9 - macs) <= max(NEAR_G, NEAR_SHARE * macs)
    return NEAR if near else DIFFERS


def as_printed(value: float, text: str) -> str:
    """`value` with as many decimals as `text` prints."""
    return f"{value:.{len(text.partition('.')[2])}f}"


def reason(table: PrintedTable) -> str:
    """What a table counts, and the rows that give it away because the other count would print them otherwise."""
    params = _why(table, table.params, "without LayerScale" if table.params == "all" else "all")
    macs = _why(table, table.macs, "fvcore" if table.macs == "core" else "core")
    return f"Params: {params}. MACs: {macs}."


def _why(table: PrintedTable, used: str, other: str) -> str:
    clues = []
    for row in table.rows:
        text = row.params if used == table.params else row.macs
        value = as_printed(our_counts(row)[other] / UNITS[other], text) if row.family == "metaformer" else text
        if value != text:
            clues.append(f"{row.name} would be {value} instead of {text}")
    return f"{used}; {other}: " + ("; ".join(clues) if clues else "the same digits")


def all_lines(progress: Callable[[str], None] = lambda name: None) -> list[tuple[PrintedTable, list[Line]]]:
    """Every table with its rows counted; `progress` is told each row's name before."""
    return [(table, [_announced(row, table, progress) for row in table.rows]) for table in TABLES]


def _announced(row: Row, table: PrintedTable, progress: Callable[[str], None]) -> Line:
    progress(row.name)
    return line_of(row, table)


def show_tables(console: Console, *, output: str) -> bool:
    """Prints all tables as "text", "json" or "csv"; whether every MetaFormer's row is exact."""
    with Console(stderr=True).status("counting") as status:
        counted = all_lines(lambda name: status.update(f"counting {name}"))
    if output == "json":
        print(json.dumps(_summary(counted) | {"tables": [_plain(table, lines) for table, lines in counted]}, indent=2))
    elif output == "csv":
        _write_csv([{"table": table.title, **_record(line)} for table, lines in counted for line in lines])
    else:
        for table, lines in counted:
            console.print(_rendered(table, lines), highlight=False)
            console.print(f"{table.source}. {reason(table)}\n", highlight=False, style="dim", soft_wrap=True)
        console.print(_verdict(counted), highlight=False)
    summary = _summary(counted)
    return summary["metaformer_rows_exact"] == summary["metaformer_rows"]


def _summary(counted: list[tuple[PrintedTable, list[Line]]]) -> dict[str, Any]:
    lines = [line for _, lines in counted for line in lines]
    ours = [line.verdict for line in lines if line.row.family == "metaformer"]
    others = {v: sum(line.verdict == v for line in lines if line.row.family == "other") for v in (NEAR, DIFFERS, ABSENT)}
    return {
        "metaformer_rows": len(ours),
        "metaformer_rows_exact": ours.count(EXACT),
        "other_rows": others,
        "tolerance": TOLERANCE,
    }


def _verdict(counted: list[tuple[PrintedTable, list[Line]]]) -> str:
    summary = _summary(counted)
    others = ", ".join(f"{number} {verdict}" for verdict, number in summary["other_rows"].items())
    exact = f"{summary['metaformer_rows_exact']} of {summary['metaformer_rows']}"
    return f"MetaFormers: {exact} rows as printed. Other rows: {others} ({TOLERANCE})."


def _plain(table: PrintedTable, lines: list[Line]) -> dict[str, Any]:
    return {
        "title": table.title,
        "source": table.source,
        "params_counted": table.params,
        "macs_counted": table.macs,
        "reason": reason(table),
        "rows": [_record(line) for line in lines],
    }


def _record(line: Line) -> dict[str, Any]:
    row, counts = line.row, line.counts
    return {
        "row": row.name,
        "model": row.model,
        "family": row.family,
        "image_size": row.image_size,
        "accuracy_percent": row.accuracy,
        "params_printed_M": row.params,
        "params": counts.get("all"),
        "params_without_layer_scale": counts.get("without LayerScale"),
        "frozen_params_printed_M": row.frozen_params,
        "frozen_params": counts.get("frozen"),
        "macs_printed_G": row.macs,
        "macs_core": counts.get("core"),
        "macs_fvcore": counts.get("fvcore"),
        "verdict": line.verdict,
        "note": row.note,
    }


def _write_csv(records: list[dict[str, Any]]) -> None:
    writer = csv.DictWriter(sys.stdout, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)


def _rendered(table: PrintedTable, lines: list[Line]) -> Table:
    """The table as a person reads it; the counts that are compared stand in bold."""
    rendered = Table(title=table.title, title_justify="left", box=None, pad_edge=False)
    used = {"all": "all", "without LayerScale": "no scale", "core": "core", "fvcore": "fvcore"}
    for column in ("row", "model", "top-1", "params M", "all", "no scale", "MACs G", "core", "fvcore", "verdict"):
        bold = "bold" if column in (used[table.params], used[table.macs]) else None
        side = "left" if column in ("row", "model", "verdict") else "right"
        rendered.add_column(column, justify=side, style=bold, header_style=bold or "", no_wrap=column != "verdict")
    for row, counts, verdict in lines:
        params = [_shown(counts, name, decimals=2) for name in ("all", "without LayerScale")]
        macs = [_shown(counts, name, decimals=3) for name in ("core", "fvcore")]
        printed = row.params + (f"+{row.frozen_params}" if row.frozen_params else "")
        remark = f"{verdict}: {row.note}" if row.note else verdict
        rendered.add_row(row.name, row.model or "–", row.accuracy or "–", printed, *params, row.macs, *macs, remark)
    return rendered


def _shown(counts: Counts, name: str, *, decimals: int) -> str:
    return f"{counts[name] / UNITS[name]:.{decimals}f}" if name in counts else "–"
