"""Verbs that run: a search, its dry run, its calibration."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import DataOption, Run, Set, StorageOption, absolute, again, app, as_settings


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="The search space, such as search_spaces/hybrid.yaml.")],
    trials: Annotated[int | None, typer.Option(help="Architectures to train (search.trials).")] = None,
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder.", show_default="runs/NAME")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of proposals, data split and trainings (search.seed).")] = None,
    workers: Annotated[int | None, typer.Option(help="Trials at once (resources.workers).", show_default="one a core")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto, or host:port.")] = None,
    storage: StorageOption = None,
    set_: Set = [],  # noqa: B006 (typer copies it)
) -> None:
    """Search a space; the same command again continues where it was stopped or killed.

    Example: `nas search search_spaces/hybrid.yaml --trials 60 --out runs/mine --set proxy.epochs=4`
    """
    from rich.console import Console

    from nas.run.settings import read_search

    flags = {
        "search.trials": trials,
        "proxy.data": absolute(data),
        "search.seed": seed,
        "resources.workers": workers,
        "resources.address": address,
        "search.storage": storage,
    }
    settings = read_search(file, settings=[*as_settings(flags), *set_])

    from nas.report.ending import show_result  # Ray takes seconds: a wrong file is said before
    from nas.search.loggers import check_packages
    from nas.search.run import search as run_search

    check_packages(settings.search.log)
    root = out or Path("runs") / settings.name
    console = Console()
    try:
        run_search(settings, root=root, console=console)
        if settings.search.replicates:
            from nas.winners.replication import replicate as run_replicates

            run_replicates(settings, root=root, console=console)
    except KeyboardInterrupt:
        console.print(f"\nStopped. Nothing that finished is lost; this continues: {again()}", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    show_result(settings, root=root, console=console)


@app.command()
def space(
    file: Annotated[Path, typer.Argument(help="The search space, such as search_spaces/hybrid.yaml.")],
    set_: Set = [],  # noqa: B006
) -> None:
    """Dry run of a search space: its size, feasible share, spread of MACs and params, estimated cost. Trains nothing.

    Example: `nas space search_spaces/hybrid.yaml --set constraints.macs.max=1.0G`
    """
    from rich.console import Console

    from nas.run.dry_run import show_space
    from nas.run.settings import read_search

    show_space(read_search(file, settings=set_), Console())


@app.command()
def calibrate(
    file: Annotated[Path, typer.Argument(help="The search space, such as search_spaces/hybrid.yaml.")],
    data: DataOption = None,
    out: Annotated[Path | None, typer.Option(help="The run's folder.", show_default="runs/NAME")] = None,
    workers: Annotated[int | None, typer.Option(help="Trainings at once.", show_default="one a core")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto, or host:port.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print what the trainings so far say; train nothing.")] = False,
    set_: Set = [],  # noqa: B006
) -> None:
    """Measure how far the proxy's ranking can be trusted: train some architectures at several fidelities and seeds.

    The YAML's `calibration:` section says which; without one, the search's baselines and 12 random architectures are trained
    at a quarter, half and four times the epochs and at larger images. It prints, for each fidelity, how well its ranking
    agrees with the costliest one's (Kendall tau and Spearman, with 95 % intervals), what parameters and MACs alone reach, the
    noise between seeds, and the cheapest fidelity that is good enough. The same command again continues where it was stopped
    or killed and trains nothing twice; results land in the run's folder under `calibration/`, and `nas front` quotes them.

    Example: `nas calibrate search_spaces/hybrid.yaml --set calibration.random=20 --set calibration.seeds=3`
    """
    from rich.console import Console

    from nas.run.settings import read_search

    flags = {"proxy.data": absolute(data), "resources.workers": workers, "resources.address": address}
    settings = read_search(file, settings=[*as_settings(flags), *set_])

    from nas.calibration.show import show_calibration, show_estimate
    from nas.calibration.train import calibrate as run_calibration
    from nas.calibration.train import calibrated

    console = Console()
    given = {"root": out or Path("runs") / settings.name, "where": str(file), "console": console}
    try:
        if show:
            plan, done = calibrated(settings, **given)
        else:
            plan, done = run_calibration(settings, **given, announce=partial(show_estimate, console=console))
    except KeyboardInterrupt:
        console.print(f"\nStopped. Nothing that finished is lost; this continues: {again()}", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    show_calibration(plan, done, root=given["root"], console=console)


@app.command()
def replicate(
    run: Run,
    replicates: Annotated[
        int | None, typer.Option(help="Other seeds for each network.", min=1, show_default="search.replicates, or 3")
    ] = None,
    most: Annotated[int | None, typer.Option(help="Networks at once, those nearest to the front first.", min=1)] = None,
    data: DataOption = None,
    workers: Annotated[int | None, typer.Option(help="Trainings at once.", show_default="the search's")] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto, or host:port.")] = None,
    set_: Set = [],  # noqa: B006
) -> None:
    """Train the networks on or near a run's front again with other seeds, so that luck is told from merit.

    The front, the report and pandas then show means with their intervals; what the noise leaves open is called a tie. The same
    command again continues where it was stopped or killed and trains nothing twice.

    Example: `nas replicate runs/hybrid --replicates 3`
    """
    from rich.console import Console

    from nas.report.terminal import WIDE, show_front
    from nas.winners.replication import replicate as run_replicates
    from nas.winners.replication import settings_of

    flags = {"proxy.data": absolute(data), "resources.workers": workers, "resources.address": address}
    console = Console()
    try:
        search = settings_of(run, [*as_settings(flags), *set_])
        run_replicates(search, root=run, console=console, number=replicates, most=most)
    except KeyboardInterrupt:
        console.print(f"\nStopped. Nothing that finished is lost; this continues: {again()}", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    show_front((run,), Console(width=None if sys.stdout.isatty() else WIDE))
