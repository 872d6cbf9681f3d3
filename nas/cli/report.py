"""Verbs that read what runs found."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import Run, app


@app.command()
def front(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, such as runs/hybrid; several share one front.")],
    x: Annotated[
        str | None, typer.Option("--x", help="Another cost: macs, params, activation_bytes, latency_ms, seconds.")
    ] = None,
    max_macs: Annotated[str | None, typer.Option(help="Leave out what costs more, such as 1.5G.")] = None,
    latency: Annotated[
        str | None, typer.Option(help="Which recorded latency: words of its device or conditions.", show_default="the last")
    ] = None,
    ties: Annotated[bool, typer.Option("--ties", help="List everything that the noise leaves a place on the front.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the front as JSON instead of a table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the front as CSV instead of a table.")] = False,
) -> None:
    """Show the Pareto front of a run or of several, also while they run.

    Example: `nas front runs/hybrid --x params --max-macs 1.5G`
    """
    from rich.console import Console

    from nas.errors import ConfigError
    from nas.report.terminal import WIDE, most_macs, show_front

    if as_json and as_csv:
        raise ConfigError("--json and --csv: one output at a time, but got both; leave one out.")
    output = "json" if as_json else "csv" if as_csv else "table"
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    given = {"x": x, "max_macs": most_macs(max_macs), "latency": latency, "with_ties": ties, "output": output}
    show_front(tuple(runs), console, **given)


@app.command()
def report(
    run: Run,
    against: Annotated[list[Path], typer.Option(help="Another run beside its hypervolume, say a random search.")] = [],  # noqa: B006
) -> None:
    """Write a run's report: one HTML page that needs no network, and its pictures.

    Example: `nas report runs/hybrid --against runs/random`
    """
    from rich.console import Console

    from nas.report.page import write_report

    write_report(run, Console(), against=tuple(against))


@app.command()
def compare(
    run: Run,
    other: Annotated[Path, typer.Argument(help="The folder of the run to compare it with.")],
    picture: Annotated[Path | None, typer.Option(help="A PNG file to draw both fronts into.")] = None,
) -> None:
    """Compare two runs: hypervolume with bootstrap intervals, the joint front, the cost to reach the same.

    Example: `nas compare runs/tpe runs/random --picture fronts.png`
    """
    from rich.console import Console

    from nas.report.compare import show_comparison
    from nas.report.terminal import WIDE

    show_comparison((run, other), Console(width=None if sys.stdout.isatty() else WIDE), picture=picture)
