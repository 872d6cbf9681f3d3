"""Verbs that run: a search, its dry run, its calibration, its replicates."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import (
    AddressOption,
    DataOption,
    OutOption,
    Run,
    Set,
    SpaceFile,
    app,
    as_settings,
    console,
    stoppable,
)
from nas.cli.waiting import WaitOption, as_hours, start_again
from nas.terminal import command

_Trials = Annotated[int | None, typer.Option(help="Architectures to train (search.trials).")]
_Seed = Annotated[int | None, typer.Option(help="Seed of proposals, split and trainings (search.seed).")]
_Workers = Annotated[int | None, typer.Option(help="Trainings at once (resources.workers).", show_default="one a core")]
_Storage = Annotated[str | None, typer.Option(help="Optuna storage URL instead of study.db in the run's folder.")]
_Show = Annotated[bool, typer.Option("--show", help="Print what the trainings so far say; train nothing.")]
_Choose = Annotated[
    str | None,
    typer.Option(metavar="HOURS", help="Then choose the training for a search of 24h, 90min, ... (GPU-hours on GPUs)."),
]
_Yes = Annotated[bool, typer.Option("--yes", help="Begin even if it takes more than ten times the search.")]
_Replicates = Annotated[
    int | None, typer.Option(help="Other seeds for each network.", min=1, show_default="search.replicates, or 3")
]
_Most = Annotated[int | None, typer.Option(help="Networks at once, those nearest to the front first.", min=1)]


@app.command()
def search(
    file: SpaceFile,
    trials: _Trials = None,
    data: DataOption = None,
    out: OutOption = None,
    seed: _Seed = None,
    workers: _Workers = None,
    address: AddressOption = None,
    storage: _Storage = None,
    wait_for_cluster: WaitOption = None,
    set_: Set = [],  # noqa: B006 (typer copies it)
) -> None:
    """Search a space; the same command again continues where it was stopped or killed.

    Example: `nas search hybrid --trials 60 --out runs/mine --set proxy.epochs=4`
    """
    from nas.run.settings.search import read_search

    flags = {"search.trials": trials, "search.seed": seed, "search.storage": storage}
    settings = read_search(file, settings=[*as_settings(flags), *as_settings(_machines(data, workers, address)), *set_])
    start_again(settings.resources.address, wait_for_cluster)

    from nas.interface.searching import whole_search

    if data not in (None, "digits") and read_search(file).proxy.data == "digits":
        better = command("init", "--data", data)
        console().print(f"mind: {file} trains as suits the digits; a search that suits your images: {better}", soft_wrap=True)
    with stoppable():
        whole_search(settings, root=out or Path("runs") / settings.name, console=console(lasting=True))


def _machines(data: str | None, workers: int | None, address: str | None) -> dict[str, object]:
    return {"proxy.data": data, "resources.workers": workers, "resources.address": address}


@app.command()
def space(
    file: SpaceFile,
    trials: _Trials = None,
    data: DataOption = None,
    workers: _Workers = None,
    set_: Set = [],  # noqa: B006
) -> None:
    """Dry run of a search space: its size, feasible share, spread of MACs and params, estimated cost.

    It trains nothing, but times a few steps of a typical network to say how long the search would take here, and
    of images in a folder lists all and decodes a few: what they take of disk, memory and time. Of search.learn_from it
    says how much lies in this space.

    Example: `nas space hybrid --set constraints.macs.max=1.0G`
    """
    from nas.run.dry_run import SearchPace, show_space
    from nas.run.settings.search import read_search

    flags = {"search.trials": trials, "proxy.data": data, "resources.workers": workers}
    settings = read_search(file, settings=[*as_settings(flags), *set_])

    from nas.data.draw import data_cost
    from nas.data.registry import data_root
    from nas.run.folder import RunFolder
    from nas.search.forecast import training_speed
    from nas.search.rungs import expected_epochs
    from nas.search.sources import learnt_sources, overlapping

    sources = learnt_sources(settings, RunFolder(Path("runs") / settings.name))
    root = data_root(settings.proxy.data)
    is_here = data is not None or (root is not None and root.exists())
    images = data_cost(settings.proxy, seed=settings.split_seed, root=root) if is_here else None
    pace = SearchPace(expected_epochs(settings), partial(training_speed, settings))
    show_space(settings, console(), pace=pace, data=images)
    for remark in overlapping(settings, sources).remarks:
        console().print(remark, soft_wrap=True)


@app.command()
def calibrate(
    file: SpaceFile,
    data: DataOption = None,
    out: OutOption = None,
    workers: _Workers = None,
    address: AddressOption = None,
    wait_for_cluster: WaitOption = None,
    show: _Show = False,
    choose: _Choose = None,
    yes: _Yes = False,
    set_: Set = [],  # noqa: B006
) -> None:
    """Measure how far the proxy's ranking can be trusted: train some architectures at several fidelities and seeds.

    The YAML's `calibration:` section says which; without one, the search's baselines (or each family, scaled to the space) and
    12 random architectures are trained at a quarter, half and four times the epochs and at larger images. For each fidelity it
    prints how well its ranking agrees with the costliest one's, what parameters and MACs alone reach, and the noise between
    seeds. The same command continues. With `--choose 24h` the best training and signal that fit become a YAML file.

    Example: `nas calibrate hybrid --set calibration.random=20 --set calibration.seeds=3`
    """
    from nas.run.settings.search import read_search

    settings = read_search(file, settings=[*as_settings(_machines(data, workers, address)), *set_])
    start_again(settings.resources.address, wait_for_cluster)
    from nas.calibration.choose import announced, show_choice
    from nas.calibration.show import show_calibration
    from nas.calibration.train import read_calibration, run_calibration

    root, where, shown = out or Path("runs") / settings.name, str(file), console(lasting=True)
    hours = None if choose is None else as_hours(choose, where="--choose")
    with stoppable():
        if show:
            plan, done = read_calibration(settings, root=root, where=where, console=shown)
        else:
            announce = partial(announced, console=shown, hours=hours, is_sure=yes)
            plan, done = run_calibration(settings, root=root, where=where, console=shown, announce=announce)
    analysis = show_calibration(plan, done, root=root, console=shown)
    if hours is not None:
        show_choice(plan, analysis, hours, root=root, console=shown)


@app.command()
def replicate(
    run: Run,
    replicates: _Replicates = None,
    most: _Most = None,
    data: DataOption = None,
    workers: _Workers = None,
    address: AddressOption = None,
    wait_for_cluster: WaitOption = None,
    set_: Set = [],  # noqa: B006
) -> None:
    """Train the networks on or near a run's front again with other seeds, so that luck is told from merit.

    The front, the report and pandas then show means with their intervals; what the noise leaves open is called a tie. The same
    command again continues where it was stopped or killed and trains nothing twice.

    Example: `nas replicate runs/hybrid --replicates 3`
    """
    from nas.report.terminal import show_front
    from nas.winners.replication import replicate_front, settings_of

    with stoppable():
        settings = settings_of(run, [*as_settings(_machines(data, workers, address)), *set_])
        start_again(settings.resources.address, wait_for_cluster)
        replicate_front(settings, root=run, console=console(lasting=True), number=replicates, most=most)
    show_front((run,), console(full_width=True))
