"""The papers' tables beside our counts: MetaFormers to the last printed digit, other families as near as timm's models are."""

import csv
import json
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from nas.papers.counting import fvcore_macs, params_without_layer_scale
from nas.papers.printed import TABLES, PrintedTable, Row
from nas.space.cost import cost
from nas.space.reference import IMAGENET_CLASSES, design
from nas.terminal import Terminal

NEAR_SHARE, NEAR_G = 0.03, 0.1  # how far timm's models are from what papers print about other families
FULL_WIDTH = 140  # columns of a terminal that holds the models' names too
CLUES = 3  # rows that a caption names
EXACT, OFF, NEAR, DIFFERS, ABSENT = "exact", "OFF", "within tolerance", "differs", "no public model"
COUNT_UNITS = {"all": 1e6, "without LayerScale": 1e6, "core": 1e9, "fvcore": 1e9}
LEGEND = (
    "core: multiply-accumulates of convolutions, linear maps and matrix products. fvcore: 5 operations an entry of each norm's "
    "input (2 of a batch norm's) on top. no scale: without the parameters of LayerScale. Bold: what the table is compared with."
)
TOLERANCE_TEXT = f"other families: timm's models, params within {NEAR_SHARE:.0%}, MACs within {NEAR_G} G or {NEAR_SHARE:.0%}"

Counts = dict[str, int]
"""Params (all, without LayerScale, frozen) and MACs (core, fvcore) of one model; a count that was not made is left out."""


class Line(NamedTuple):
    """A printed row beside what we count, and how they agree."""

    row: Row
    counts: Counts
    verdict: str


Counted = list[tuple[PrintedTable, list[Line]]]


def our_counts(row: Row) -> Counts:
    """What a design of ours comes to, in both papers' ways of counting."""
    assert row.model is not None, f"{row.name} is a MetaFormer, so a design of ours stands for it"
    architecture, at = design(row.model), {"image_size": row.image_size, "num_classes": IMAGENET_CLASSES}
    counted = cost(architecture, **at)
    return {
        "all": counted.params,
        "without LayerScale": params_without_layer_scale(architecture, **at),
        "frozen": counted.frozen_params,
        "core": counted.macs,
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

    with torch.device("meta"), torch.no_grad():
        model = timm.create_model(row.model).eval()
        with FlopCounterMode(display=False) as flops:
            model(torch.empty(1, 3, row.image_size, row.image_size))
    return {"all": sum(p.numel() for p in model.parameters()), "core": flops.get_total_flops() // 2}


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
    return f"Params counted: {params}. MACs counted: {macs}."


def _why(table: PrintedTable, used: str, other: str) -> str:
    clues = []
    for row in table.rows:
        text = row.params if used == table.params else row.macs
        value = as_printed(our_counts(row)[other] / COUNT_UNITS[other], text) if row.family == "metaformer" else text
        if value != text:
            clues.append(f"{row.name} {text}, not {value}")
    more = f" and {len(clues) - CLUES} more" if len(clues) > CLUES else ""
    return f"{used} ({'; '.join(clues[:CLUES])}{more})" if clues else f"{used} ({other}: the same digits here)"


def counted_tables(progress: Callable[[str], None]) -> Counted:
    """Every table with its rows counted; `progress` is told each table's title before."""
    counted = []
    for table in TABLES:
        progress(table.title)
        counted.append((table, [line_of(row, table) for row in table.rows]))
    return counted


def show_tables(console: Console, *, output: str) -> bool:
    """Prints all tables as "table", "json" or "csv"; whether every MetaFormer's row is exact."""
    with Terminal(stderr=True).status("") as status:
        counted = counted_tables(lambda title: status.update(f"counting {title}"))
    writers: dict[str, Callable[[Counted], None]] = {"json": _print_json, "csv": _print_csv}
    writers.get(output, partial(_print_text, console))(counted)
    summary = _summary(counted)
    return summary["metaformer_rows_exact"] == summary["metaformer_rows"]


def _print_text(console: Console, counted: Counted) -> None:
    for table, lines in counted:
        console.print(_rendered(table, lines, wide=console.width >= FULL_WIDTH))
        console.print(f"{table.source}. {reason(table)}\n")
    console.print(f"{LEGEND}\n\n{_verdict(counted)}")


def _print_json(counted: Counted) -> None:
    print(json.dumps(_summary(counted) | {"tables": [_entry(table, lines) for table, lines in counted]}, indent=2))


def _print_csv(counted: Counted) -> None:
    records = [{"table": table.title, **_record(line)} for table, lines in counted for line in lines]
    writer = csv.DictWriter(sys.stdout, fieldnames=list(records[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)


def _summary(counted: Counted) -> dict[str, Any]:
    lines = [line for _, lines in counted for line in lines]
    ours = [line.verdict for line in lines if line.row.family == "metaformer"]
    others = {v: sum(line.verdict == v for line in lines if line.row.family == "other") for v in (NEAR, DIFFERS, ABSENT)}
    return {
        "metaformer_rows": len(ours),
        "metaformer_rows_exact": ours.count(EXACT),
        "other_rows": others,
        "tolerance": TOLERANCE_TEXT,
    }


def _verdict(counted: Counted) -> str:
    summary = _summary(counted)
    others = ", ".join(f"{number} {verdict}" for verdict, number in summary["other_rows"].items())
    exact = f"{summary['metaformer_rows_exact']} of {summary['metaformer_rows']}"
    return f"MetaFormers: {exact} rows as printed. Other rows: {others} ({TOLERANCE_TEXT})."


def _entry(table: PrintedTable, lines: list[Line]) -> dict[str, Any]:
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
        "top1_printed": row.accuracy,
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


def _rendered(table: PrintedTable, lines: list[Line], *, wide: bool) -> Table:
    """The table as a person reads it, with the models' names where there is room."""
    rendered = Table(title=table.title, title_justify="left", box=None, pad_edge=False)
    used = {"all": "all", "without LayerScale": "no scale", "core": "core", "fvcore": "fvcore"}
    model = ("model",) if wide else ()
    for column in ("row", *model, "top-1", "params M", "all", "no scale", "MACs G", "core", "fvcore", "verdict"):
        bold = "bold" if column in (used[table.params], used[table.macs]) else ""
        side: Literal["left", "right"] = "left" if column in ("row", "model", "verdict") else "right"
        rendered.add_column(column, justify=side, style=bold, header_style=bold, no_wrap=column != "verdict")
    for line in lines:
        name, *cells = _cells(line)
        rendered.add_row(name, *([line.row.model or "–"] if wide else []), *cells)
    return rendered


def _cells(line: Line) -> list[str]:
    row, counts, verdict = line
    params = [_shown(counts, name, decimals=2) for name in ("all", "without LayerScale")]
    macs = [_shown(counts, name, decimals=3) for name in ("core", "fvcore")]
    printed = row.params + (f"+{row.frozen_params}" if row.frozen_params else "")
    if verdict == DIFFERS:
        verdict += (
            f" by {counts['all'] / 1e6 / float(row.params) - 1:+.1%} and {counts['core'] / 1e9 / float(row.macs) - 1:+.1%}"
        )
    remark = f"{verdict}; {row.note}" if row.note else verdict
    return [row.name, row.accuracy or "–", printed, *params, row.macs, *macs, remark]


def _shown(counts: Counts, name: str, *, decimals: int) -> str:
    return f"{counts[name] / COUNT_UNITS[name]:.{decimals}f}" if name in counts else "–"
