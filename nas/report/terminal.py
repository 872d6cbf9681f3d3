"""The front in a terminal: of one run or several, as a table, JSON or CSV."""

import json
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Console
from rich.table import Table

from nas.calibration.quote import quote
from nas.errors import ConfigError, NasError, few, unknown
from nas.papers.published import PUBLISHED_ABOUT, published_front
from nas.report.networks import show_networks
from nas.results.columns import COLUMNS, axis_label, of_plugins, one_size, with_cost
from nas.results.comparable import differences_that_matter, marks, refuse
from nas.results.families import lead_over_families
from nas.results.front import ENCODED, joined
from nas.results.int8 import as_int8, int8_in_words
from nas.results.latencies import above_limits, chosen_setup, setups
from nas.results.noise import judged_by, noise_of
from nas.results.points import finished, labels, names_of, require_finished
from nas.results.standing import ONE_SIZE, Standing, entries, standing, ties
from nas.results.trials import with_choices
from nas.run.reading import Reading, read
from nas.space.constraints import limit_path
from nas.space.costs import COSTS, ON, cost_at_size, size_in
from nas.space.mixers import positional
from nas.space.reference import IMAGENET_CLASSES
from nas.spreadsheets import as_cells
from nas.units import count, percent, quantity

TIES = 6
DENSE_PIXELS = 512  # a side, of what detectors and segmenters commonly take
EXPECTED = (
    "expected: what other seeds and images should give, foretold from each training's accuracy and losses beside all others'. "
    "The front is one of these: who is picked for a high accuracy is picked for luck as well. accuracy: as measured, once "
    "(the verb replicate measures more)"
)
LATENCY_COLUMN = "latency_ms"
TIMM_RESULTS = "timm"
Output = Literal["table", "json", "csv"]
FITS_ONE = "fit one image size"
OF_A_PLUGIN = "have a plugin's mixer, whose cost at that size was not measured in the search"


def show_front(
    roots: tuple[Path, ...],
    console: Console,
    *,
    x: str | None = None,
    max_macs: int | None = None,
    latency: str | None = None,
    with_ties: bool = False,
    against: str | None = None,
    int8: bool = False,
    dense: bool = False,
    output: Output = "table",
) -> None:
    """Print the front of a run, or that of several together; NasError without a finished trial.

    `x` takes another cost than the search's own, `max_macs` leaves out what costs more, `latency` names the conditions of
    latency_ms, `with_ties` adds all that the noise leaves a place, `against` "timm" shows what was published at such MACs,
    `int8` judges by what is expected of networks in int8, `dense` counts at 512 px.
    """
    readings = _that_can_be_joined(roots)
    _check_against(against, output, readings)
    _check_latencies(readings, x, latency)
    trials = joined(readings, latency=latency)
    require_finished(trials, roots)
    x = x or (cost_at_size("macs", DENSE_PIXELS) if dense else None)
    _check_axis(x, readings)
    able, left_out = _candidates(trials, readings, x=x, max_macs=max_macs, dense=dense, int8=int8)
    ranked = standing(able, (x,) if x else readings[0].search.objectives[1:])
    if not len(ranked.best):
        cheapest = f", and the cheapest finished one has {count(finished(trials)['macs'].min())}" if max_macs else ""
        raise NasError(f"{names_of(roots)}: no finished trial is inside the limits{cheapest}. Give a larger --max-macs.")
    if output != "table":
        _print_rows(
            pd.concat([ranked.best, ranked.open]) if with_ties else ranked.best, console, output, several=len(roots) > 1
        )
        return
    show_standing(ranked, readings, console, latency=latency, with_ties=with_ties)
    for why, names in left_out.items():
        console.print(f"left out, because they {why}: trials {few(names, most=TIES)}", soft_wrap=True)
    return None if against is None else _show_published(ranked, console)


def _print_rows(rows: pd.DataFrame, console: Console, output: Output, *, several: bool) -> None:
    """The rows for another program, as JSON or CSV."""
    if output == "csv":
        return _write_csv(rows, console)
    columns = [*COLUMNS, *filter(lambda column: ON in column, rows)]
    return _print_json(rows[["run", *columns] if several else columns], console)


def _candidates(
    trials: pd.DataFrame, readings: list[Reading], *, x: str | None, max_macs: int | None, dense: bool, int8: bool
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """The trials that may be shown, and by reason those that may not; a cost at another image size is counted now."""
    able = trials if max_macs is None else trials[trials["macs"] <= max_macs]
    reasons = {FITS_ONE: one_size(able)} if dense else {}
    if x is not None and size_in(x) is not None and x not in able:
        reasons[OF_A_PLUGIN] = of_plugins(able)
    left_out = {why: labels(finished(able[rows])).tolist() for why, rows in reasons.items() if len(finished(able[rows]))}
    for rows in reasons.values():
        able = able[~rows.loc[able.index]]
    if x is not None and size_in(x) is not None:
        able = with_cost(able, x, readings[0].search)
    able.attrs = trials.attrs
    roots = names_of(tuple(reading.folder.root for reading in readings))
    if left_out and not len(finished(able)):
        raise NasError(f"{roots}: no network is left, because they {'; or '.join(left_out)}. Leave --for or --x out.")
    return (as_int8(able, where=roots) if int8 else able), left_out


def _check_axis(x: str | None, readings: list[Reading]) -> None:
    axes = [*COSTS, *dict.fromkeys(name for reading in readings for name in reading.search.foretold)]
    if x is not None and x not in axes and size_in(x) is None:
        raise ConfigError(f"--x: {unknown('cost', x, axes)}")


def _check_against(against: str | None, output: Output, readings: list[Reading]) -> None:
    if against not in (None, TIMM_RESULTS):
        raise ConfigError(f"--against: must be {TIMM_RESULTS}, but got {against!r}. To compare runs: nas compare RUN OTHER.")
    if against is not None and output != "table":
        raise ConfigError(f"--against: {TIMM_RESULTS} is a table of its own, which --{output} can't hold. Leave one out.")
    classes = {reading.search.space.num_classes for reading in readings} - {IMAGENET_CLASSES}
    if against is not None and classes:
        raise ConfigError(
            f"--against: {TIMM_RESULTS}'s MACs are of {IMAGENET_CLASSES:,} classes, here they are counted at {min(classes):,} "
            "(space.num_classes), and can't be compared. Leave it out."
        )


def _show_published(ranked: Standing, console: Console) -> None:
    """What others have trained on ImageNet-1k at about the MACs of the front, in a table of its own."""
    table = Table(title="Published on ImageNet-1k", box=None, pad_edge=False, header_style="bold", title_justify="left")
    for heading in ("top-1", "MACs", "params", "px"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("model", overflow="fold")
    for row in published_front(ranked.best["macs"].min(), ranked.best["macs"].max()).itertuples():
        table.add_row(percent(row.top1), count(row.macs), count(row.params), str(row.img_size), row.model)
    console.print()
    console.print(table)
    console.print(PUBLISHED_ABOUT, soft_wrap=True)


def _that_can_be_joined(roots: tuple[Path, ...]) -> list[Reading]:
    """The runs; NasError where one was named twice or their numbers mean different things."""
    readings = [read(root) for root in roots]
    if len({root.resolve() for root in roots}) < len(roots):
        raise NasError(f"{names_of(roots)}: a run was named twice, and would be its own rival. Name each once.")
    for other in readings[1:]:
        refuse(readings[0], other, differences_that_matter(readings[0], other))
    return readings


def _check_latencies(readings: list[Reading], x: str | None, words: str | None) -> None:
    """NasError unless latencies that are asked for were measured on one machine under one set of conditions."""
    if x != LATENCY_COLUMN and not words:
        return
    roots = names_of(tuple(reading.folder.root for reading in readings))
    measured = {setup.which for reading in readings if (setup := chosen_setup(reading, words))}
    if len(measured) > 1:
        raise NasError(f"{roots}: latencies are of different machines or conditions. Name shared ones with --latency.")
    if words and not measured:
        raise NasError(f"{roots}: no latency was recorded. {COSTS[LATENCY_COLUMN].way_out}")


def _write_csv(best: pd.DataFrame, console: Console) -> None:
    table = with_choices(best).drop(columns=["curve", "architecture", "right"])
    console.file.write(as_cells(table).to_csv(index=False))


def _print_json(best: pd.DataFrame, console: Console) -> None:
    rows = json.loads(best.to_json(orient="records"))
    for row in rows:
        row |= {name: json.loads(row[name]) for name in ENCODED if row[name]}
    console.print_json(data=rows)


# The table


def show_standing(
    ranked: Standing, readings: list[Reading], console: Console, *, latency: str | None = None, with_ties: bool = False
) -> None:
    """Print a front, then how far its numbers could be off."""
    roots = tuple(r.folder.root for r in readings)
    against = " and ".join(axis_label(c) for c in ranked.costs)
    console.print(f"Pareto front of {names_of(roots)}: accuracy against {against}", soft_wrap=True, style="bold")
    shown = sorted([*entries(ranked), *ties(ranked)], key=lambda e: e.row[ranked.costs[0]]) if with_ties else entries(ranked)
    show_networks(shown, ranked, console, uneven=_are_uneven(readings))
    lines = [] if with_ties else _ties(ranked)
    lead = lead_over_families(ranked.trials, ranked.best, ranked.costs[0])
    lines += [] if lead is None else [lead.in_words(ranked.costs[0])]
    lines += [EXPECTED] if ranked.is_lucky else []
    quantised = int8_in_words(ranked.trials)
    lines += [] if quantised is None else [quantised]
    for reading in readings:
        prefix = f"{reading.folder.root}: " if len(readings) > 1 else ""
        lines.append(f"{prefix}±: {noise_of(reading)}")
        judged = judged_by(reading)
        if judged is not None:
            counted, blind = reading.search.counted_elsewhere(len(judged.class_names)), judged.blind(ranked.best)
            lines += [f"{prefix}{line}" for line in (str(judged), blind, counted) if line is not None]
        lines.append(quote(reading.folder.root))
        lines += [f"{prefix}{line}" for line in _above_limits(ranked, reading)]
        if LATENCY_COLUMN in ranked.costs:
            lines.append(f"{prefix}latency: {_measured(reading, latency)}")
    for other in readings[1:]:
        lines += [f"{other.folder.root}: {mark}" for mark in marks(differences_that_matter(readings[0], other))]
    if any(ONE_SIZE in entry.remark for entry in shown):
        lines.append(
            f"{ONE_SIZE}: {', '.join(positional())} and embedded positions fit the image size that they are built for, no other"
        )
    for line in lines:
        console.print(line, soft_wrap=True)


def _above_limits(ranked: Standing, reading: Reading) -> list[str]:
    """Which networks were measured to break a device's limit; of several runs each has its own."""
    own = ranked.trials[ranked.trials["run"].isin([reading.folder.root.resolve().name, str(reading.folder.root)])]
    above = above_limits(own, reading.search)
    return [above_in_words(name, numbers) for name, numbers in above.items()]


def above_in_words(name: str, numbers: list[int]) -> str:
    """That trials are not on the front since they were measured to take longer than a device's limit allows."""
    which = "trial" if len(numbers) == 1 else "trials"
    return (
        f"measured above constraints.{limit_path(name)}, and so not on the front: {which} "
        f"{few(list(map(str, numbers)), most=TIES)}"
    )


def _are_uneven(readings: list[Reading]) -> bool:
    """Whether the classes are so uneven among the images judged by that accuracy alone says little."""
    return any(judged.is_uneven for reading in readings if (judged := judged_by(reading)) is not None)


def _ties(ranked: Standing) -> list[str]:
    """Which other networks the noise leaves a place on the front."""
    if not len(ranked.open):
        return []
    names = few(labels(ranked.open).tolist(), most=TIES)
    hint = " (--ties lists them)" if len(ranked.open) > TIES else ""
    trials = "trial" if len(ranked.open) == 1 else "trials"
    return [f"ties: {len(ranked.open)} more could be on the front within the noise: {trials} {names}{hint}"]


def _measured(reading: Reading, words: str | None) -> str:
    """Under which conditions latencies were measured, how many of them, and which others the record holds."""
    setup = chosen_setup(reading, words)
    if setup is None:
        return f"not measured. {COSTS[LATENCY_COLUMN].way_out}"
    others = [str(s) for s in setups(reading) if s.which != setup.which]
    also = f"; --latency also knows {' and '.join(others)}" if others else ""
    able = finished(joined([reading]))
    return f"{setup}; {setup.trials} of {len(able)} networks measured{also}"


def most_macs(text: str | None) -> int | None:
    """A limit such as 1.5G as a number; ConfigError with the form for anything else."""
    macs = None if text is None else quantity(text)
    if text is not None and (not isinstance(macs, int) or macs <= 0):
        raise ConfigError(f"--max-macs: must be a count such as 1.5G or 800M, but got {text!r:.60}. Write it like this.")
    return macs
