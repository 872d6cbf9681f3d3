"""Verbs that read what runs found."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import CsvOption, JsonOption, Run, app, console, output_of, path_argument, path_option, run_names
from nas.errors import ConfigError
from nas.files import at_home
from nas.space.plugins.code import no_plugin_runs

_Runs = Annotated[
    list[Path],
    path_argument(help="Folders of runs, such as runs/hybrid; several share one front.", autocompletion=run_names),
]
_Folders = Annotated[list[Path], path_argument(help="Folders that hold runs.", show_default="runs")]
_Network = Annotated[
    str,
    typer.Argument(metavar="RUN:TRIAL", parser=at_home, help="A run and its trial's number.", autocompletion=run_names),
]
_OtherCost = Annotated[
    str | None, typer.Option("--x", help="Another cost, such as params or latency_ms; a wrong name lists them all.")
]
_MaxMacs = Annotated[str | None, typer.Option(help="Leave out what costs more, such as 1.5G.")]
_Latency = Annotated[
    str | None, typer.Option(help="Which recorded latency: words of its device or conditions.", show_default="the last")
]
_Ties = Annotated[bool, typer.Option("--ties", help="List everything that the noise leaves a place on the front.")]
_AgainstPublished = Annotated[
    str | None,
    typer.Option("--against", help="timm: below it, what others published on ImageNet-1k at such costs.", show_default=False),
]
_For = Annotated[
    str | None,
    typer.Option("--for", help="dense: MACs at 512 px, where detectors and segmenters run; no networks of one image size."),
]
_InInt8 = Annotated[bool, typer.Option("--int8", help="Judge networks by their accuracy in int8; nas quantize --front first.")]
_Against = Annotated[list[Path], path_option(help="Another run beside its hypervolume, say a random search.")]


@app.command()
@no_plugin_runs()
def front(
    runs: _Runs,
    x: _OtherCost = None,
    max_macs: _MaxMacs = None,
    latency: _Latency = None,
    ties: _Ties = False,
    against: _AgainstPublished = None,
    int8: _InInt8 = False,
    for_: _For = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """Show the Pareto front of a run or of several, also while they run.

    Example: `nas front runs/hybrid --x params --max-macs 1.5G`
    """
    output = output_of(as_json=as_json, as_csv=as_csv)
    if for_ not in (None, "dense"):
        raise ConfigError(f"--for: must be dense (detectors, segmenters), but got {for_!r}. Write that, or leave it out.")

    from nas.report.terminal import most_macs, show_front

    show_front(
        tuple(runs),
        console(full_width=True),
        x=x,
        max_macs=most_macs(max_macs),
        latency=latency,
        with_ties=ties,
        against=against,
        int8=int8,
        dense=for_ is not None,
        output=output,
    )


@app.command("list")
@no_plugin_runs()
def list_(folders: _Folders = [Path("runs")]) -> None:  # noqa: B006
    """List the runs here: how far each is, its data, what it found, when it began.

    Example: `nas list runs`
    """
    from nas.results.listing import show_runs

    show_runs(tuple(folders), console(full_width=True))


@app.command()
@no_plugin_runs()
def show(network: _Network) -> None:
    """Show one network of a run: all settings, costs, its learning curve, who proposed it and why, the commands that take it.

    Example: `nas show runs/hybrid:17`
    """
    from nas.winners.show import show_network

    show_network(network, console(full_width=True))


@app.command()
@no_plugin_runs()
def report(
    run: Run,
    against: _Against = [],  # noqa: B006
    out: Annotated[Path | None, path_option(help="Another folder to write into.", show_default="the run's")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
) -> None:
    """Write a run's report: one HTML page that needs no network, and its pictures.

    Example: `nas report runs/hybrid --against runs/random`
    """
    from nas.report.page import show_in_browser, write_report

    page = write_report(run, console(), against=tuple(against), out=out)
    if open_:
        show_in_browser(page, console())


@app.command()
@no_plugin_runs()
def compare(
    runs: Annotated[list[Path], path_argument(help="Folders of runs; several seeds of a search tell more than one.")],
    picture: Annotated[Path | None, path_option(help="A PNG file to draw both fronts into.")] = None,
) -> None:
    """Compare runs: hypervolume with bootstrap intervals, the joint front, the cost to reach the same.

    Runs of the same search with other seeds count as one search: of two searches with several seeds each, it says whether
    their difference is more than the seeds'.

    Example: `nas compare runs/tpe runs/random --picture fronts.png`
    """
    from nas.report.compare import show_comparison

    if len(runs) < 2:
        raise ConfigError(f"compare: needs two runs or more, but got {len(runs)}. Name another one.")
    show_comparison(tuple(runs), console(full_width=True), picture=picture)
