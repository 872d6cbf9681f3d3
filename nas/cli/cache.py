"""The verb `nas cache`: results of trainings that all runs share."""

from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table

from nas.cli.app import AddressOption, DataOption, Run, Set, app, as_settings, console, stoppable

_Workers = Annotated[int | None, typer.Option(help="Trainings at once.", min=1)]
_Every = Annotated[int, typer.Option(help="Train one of so many answers.", min=1)]
_Unused = Annotated[float | None, typer.Option(help="Remove what no search was answered from for so many days.", min=0)]
_Keep = Annotated[str | None, typer.Option(metavar="BYTES", help="Then the longest unused, down to 500M, 2G, ...")]

cache_app = typer.Typer(help="Results of trainings that all runs share: how many, how large; --help of prune and verify.")
app.add_typer(cache_app, name="cache")


@cache_app.callback(invoke_without_command=True)
def show_cache(context: typer.Context) -> None:
    """Results of trainings that all runs share ($NAS_RESULTS, else results/ in $NAS_CACHE): how many there are, and their size.

    A search answers what was trained before, with the same recipe, images, seed and versions, from there;
    `--set search.cache=false` switches that off.

    Example: `nas cache`
    """
    if context.invoked_subcommand is not None:
        return
    from nas.data.cache import teachers_folder
    from nas.run.cache import results_folder, ways_of_training
    from nas.units import count

    ways = ways_of_training()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("way of training", "results", "size", "last used", "epochs", "images", "seed", "device", "versions"):
        table.add_column(column, justify="right" if column in ("results", "size", "epochs", "seed") else "left")
    for way in ways:
        used = datetime.fromtimestamp(way.used).date().isoformat()
        table.add_row(way.name, f"{way.number:,}", f"{count(way.size)}B", used, *way.facts())
    shown, number, size = console(full_width=True), sum(way.number for way in ways), sum(way.size for way in ways)
    shown.print(f"{number:,} results of trainings, {count(size)}B, in {results_folder()}", soft_wrap=True)
    if ways:
        shown.print(table)
    if answers := [file.stat().st_size for file in teachers_folder().glob("*.sqlite*")]:
        about = (
            f"answers of teachers, {count(sum(answers))}B, in {teachers_folder()}, which can be removed while nothing trains"
        )
        shown.print(about, soft_wrap=True)


@cache_app.command("prune")
def prune_cache(unused_days: _Unused = None, keep: _Keep = None) -> None:
    """Remove shared results: those not used for some days, the longest unused beyond a size, or all with --keep 0.

    Example: `nas cache prune --unused-days 90 --keep 500M`
    """
    from nas.errors import ConfigError
    from nas.run.cache import prune, results_folder
    from nas.units import count, quantity

    most = None if keep is None else quantity(keep)
    if isinstance(most, str):
        raise ConfigError(f"--keep: must be a number of bytes, such as 500M or 2G, but got {keep!r}.")
    if most is None and unused_days is None:
        raise ConfigError("nas cache prune: needs --unused-days or --keep, or it would remove nothing. --keep 0 removes all.")
    removed = prune(unused_days=unused_days, keep_bytes=most)
    size = count(sum(file.size for file in removed))
    console().print(f"removed {len(removed):,} results, {size}B, from {results_folder()}", soft_wrap=True)


@cache_app.command("verify")
def verify_cache(
    run: Run,
    every: _Every = 10,
    data: DataOption = None,
    workers: _Workers = None,
    address: AddressOption = None,
    set_: Set = [],  # noqa: B006
) -> None:
    """Train some of a run's answers from other runs here, and compare; nothing is written.

    Example: `nas cache verify runs/hybrid --every 10`
    """
    from nas.winners.replication import settings_of
    from nas.winners.verification import verify_answers

    machines = {"proxy.data": data, "resources.workers": workers, "resources.address": address}
    with stoppable():
        verify_answers(settings_of(run, [*as_settings(machines), *set_]), root=run, every=every, console=console(lasting=True))
