"""Verbs that look at single networks."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import app


@app.command()
def cost(
    target: Annotated[str, typer.Argument(help="A design's name, an architecture .json, or RUN:TRIAL.")],
    image_size: Annotated[
        int | None, typer.Option(help="Side of the square input image in pixels.", min=1, show_default="224, or a run's own")
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(help="Classes of the head.", min=1, show_default="1000, or a run's own")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Params, MACs and activation memory of an architecture, in closed form.

    Example: `nas cost poolformer_s12 --image-size 224 --json`
    """
    from nas.space.cost import cost as cost_of
    from nas.winners.lookup import architecture_of, counted_at

    architecture, own = architecture_of(target), counted_at(target)
    image_size, num_classes = image_size or own[0], num_classes or own[1]
    found = cost_of(architecture, image_size=image_size, num_classes=num_classes)
    if as_json:
        typer.echo(json.dumps({"name": target, "image_size": image_size, "num_classes": num_classes, **found._asdict()}))
    else:
        from rich.console import Console

        from nas.run.dry_run import show_cost

        show_cost(target, architecture, image_size=image_size, found=found, console=Console())


@app.command()
def tables(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print one CSV table of all rows.")] = False,
) -> None:
    """The papers' tables, printed beside counted; exit code 1 if a MetaFormer's row is off by one printed digit.

    Example: `nas tables --csv > tables.csv`
    """
    from rich.console import Console

    from nas.errors import ConfigError
    from nas.papers.tables import WIDE, show_tables

    if as_json and as_csv:
        raise ConfigError("--json and --csv: one output at a time, but got both; leave one out.")
    output = "json" if as_json else "csv" if as_csv else "text"
    if not show_tables(Console(width=None if sys.stdout.isatty() else WIDE), output=output):
        raise typer.Exit(1)


@app.command()
def latency(
    names: Annotated[
        list[str], typer.Argument(help="Designs, architecture .json files, RUN:TRIAL, timm:NAME; or one run's folder.")
    ],
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    batch: Annotated[int, typer.Option(help="Images at once.", min=1)] = 16,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    image_size: Annotated[
        int | None, typer.Option(help="Side of the square input image in pixels.", min=1, show_default="224, or a run's own")
    ] = None,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="NHWC memory instead of NCHW.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="With torch.compile instead of eager.")] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", min=1, show_default="torch's choice")] = None,
    warm_up: Annotated[int, typer.Option(help="Passes of each network before the first that counts.", min=0)] = 3,
    repeats: Annotated[int, typer.Option(help="Rounds; in each, every network runs once.", min=2)] = 20,
    most: Annotated[
        int | None, typer.Option(help="Of a run: networks at most, those nearest to the front first.", min=1)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Measure forward passes on this machine, several networks in turns, with each one's speed over the first.

    Given a run's folder, its networks are measured and put into its record, for `nas front RUN --x latency_ms`; the same
    command again measures what is missing.

    Example: `nas latency poolformer_s12 riformer_s12 --device cuda --batch 128 --dtype float16 --channels-last`
    """
    from rich.console import Console

    from nas.config import validated
    from nas.devices.measure import Conditions
    from nas.errors import ConfigError
    from nas.report.terminal import WIDE, show_front
    from nas.run.folder import RunFolder, read_run
    from nas.winners.latency import record_latencies, show_latency

    runs = [Path(name) for name in names if RunFolder(Path(name)).search_yaml.is_file()]
    if runs and (len(names) > 1 or as_json):
        raise ConfigError(f"{runs[0]}: a run is measured alone and into its record. Give only it, without --json.")
    if most and not runs:
        raise ConfigError("--most: needs a run's folder to choose from. Leave it out, or give a run.")
    own = read_run(runs[0])[1].space.image_size if runs else 224
    given = {
        "device": device,
        "batch": batch,
        "dtype": dtype,
        "image_size": image_size or own,
        "channels_last": channels_last,
        "compile": compiled,
        "threads": threads,
        "warm_up": warm_up,
        "repeats": repeats,
    }
    conditions = validated(Conditions, given, where="nas latency")
    if not runs:
        return show_latency(names, conditions, Console(), as_json=as_json)
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    record_latencies(runs[0], conditions, console, most=most)
    return show_front(tuple(runs), console, x="latency_ms")


@app.command()
def gradcam(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="CHECKPOINT... IMAGE",  # typer adds the last dots
            help="Image files by their ending; folders of nas export or nas retrain, RUN:TRIAL, timm names.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write into, one PNG an image.")] = Path("gradcam"),
    image_size: Annotated[
        int | None, typer.Option(help="Side that images are brought to.", show_default="each network's own", min=1)
    ] = None,
) -> None:
    """Show where networks look: for each image, one Grad-CAM heat map a network, side by side.

    Example: `nas gradcam exported/17 runs/hybrid:3 cat.jpg dog.png --out maps`
    """
    from nas.winners.gradcam import gradcam as write_maps
    from nas.winners.gradcam import is_random, split_targets

    checkpoints, images = split_targets(targets)
    for name in filter(is_random, checkpoints):
        typer.echo(f"{name}: no weights of it lie on this machine, and none are downloaded: its map is of random weights.")
    for file in write_maps(checkpoints, images, out, image_size=image_size):
        typer.echo(file)
