"""Verbs that look at single networks."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import CsvOption, JsonOption, app, console, output_of, path_option
from nas.errors import ConfigError
from nas.files import at_home
from nas.terminal import printable

_ImageSize = Annotated[
    int | None,
    typer.Option(help="Side of the square input image in pixels.", min=1, show_default="224, or that of a run or an export"),
]
_Classes = Annotated[
    int | None, typer.Option(help="Classes of the head.", min=1, show_default="1000, or that of a run or an export")
]
_Names = Annotated[
    list[str],
    typer.Argument(
        parser=at_home,
        help="Designs, architecture .json files, RUN:TRIAL, folders of nas export or retrain, timm:NAME; or a run's folder.",
    ),
]
_Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
_Batch = Annotated[int, typer.Option(help="Images at once.", min=1)]
_Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
_ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="NHWC memory instead of NCHW.")]
_DeviceFile = Annotated[Path | None, path_option("--device-file", help="Measure a run's front as this file says.")]
_Runtime = Annotated[str, typer.Option(help="torch, compile (torch.compile), onnxruntime or onnxruntime-int8.")]
_Threads = Annotated[int | None, typer.Option(help="CPU threads.", min=1, show_default="torch's choice")]
_WarmUp = Annotated[int, typer.Option(help="Passes of each network before the first that counts.", min=0)]
_Repeats = Annotated[int, typer.Option(help="Rounds; in each, every network runs once.", min=2)]
_Most = Annotated[int | None, typer.Option(help="Of a run: networks at most, those nearest to the front first.", min=1)]
_Targets = Annotated[
    list[str],
    typer.Argument(
        parser=at_home,
        metavar="CHECKPOINT... IMAGE",  # typer adds the last dots
        help="Image files by their ending; folders of nas export or nas retrain, RUN:TRIAL, timm names.",
    ),
]
_InputSize = Annotated[
    int | None, typer.Option(help="Side that images are brought to.", show_default="each network's own", min=1, max=10_000)
]


@app.command()
def cost(
    target: Annotated[
        str,
        typer.Argument(parser=at_home, help="A design's name, such as caformer@0.6G; a .json; RUN:TRIAL; an export's folder."),
    ],
    image_size: _ImageSize = None,
    num_classes: _Classes = None,
    device_file: Annotated[Path | None, path_option("--device-file", help="Foretell its latency on that device too.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Params, MACs and activation memory of an architecture, in closed form.

    Example: `nas cost poolformer_s12 --image-size 224 --json`
    """
    from nas.space.cost import cost as cost_of
    from nas.winners.lookup import architecture_of, counted_at

    own = counted_at(target)
    image_size, num_classes = image_size or own[0], num_classes or own[1]
    architecture = architecture_of(target, image_size=image_size, num_classes=num_classes)
    counted = cost_of(architecture, image_size=image_size, num_classes=num_classes)
    if device_file is not None:
        from nas.devices.device_file import foretold_by

        counted = foretold_by(architecture, counted, device_file, image_size=image_size, num_classes=num_classes)
    if as_json:
        typer.echo(json.dumps({"name": target, "image_size": image_size, "num_classes": num_classes, **counted.by_name()}))
    else:
        from nas.run.dry_run import show_cost

        show_cost(target, architecture, image_size=image_size, counted=counted, console=console())


@app.command()
def tables(as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """The papers' tables, printed beside counted; exit code 1 if a MetaFormer's row is off by one printed digit.

    Example: `nas tables --csv > tables.csv`
    """
    output = output_of(as_json=as_json, as_csv=as_csv)

    from nas.papers.tables import show_tables

    if not show_tables(console(full_width=True), output=output):
        raise typer.Exit(1)


@app.command()
def latency(
    names: _Names,
    device: _Device = "cpu",
    batch: _Batch = 16,
    dtype: _Dtype = "float32",
    image_size: _ImageSize = None,
    channels_last: _ChannelsLast = False,
    runtime: _Runtime = "torch",
    threads: _Threads = None,
    warm_up: _WarmUp = 3,
    repeats: _Repeats = 20,
    most: _Most = None,
    device_file: _DeviceFile = None,
    as_json: JsonOption = False,
) -> None:
    """Measure forward passes on this machine, several networks in turns, with each one's speed over the first.

    Given a run's folder, its networks are measured and put into its record, for `nas front RUN --x latency_ms`; the same
    command again measures what is missing. With `--device-file` the front is measured as that file's networks were, beside
    what it foretells; the other options are the file's own then.

    Example: `nas latency poolformer_s12 riformer_s12 --device cuda --batch 128 --dtype float16 --channels-last`
    """
    if device_file is not None:
        return _measure_by(names, device_file, most=most)
    asked: dict[str, object] = {"device": device, "batch": batch, "dtype": dtype, "image_size": image_size}
    asked |= {"channels_last": channels_last, "runtime": runtime, "threads": threads}
    asked |= {"warm_up": warm_up, "repeats": repeats}
    _measure(names, asked, most=most, as_json=as_json)


def _measure_by(names: list[str], device_file: Path, *, most: int | None) -> None:
    """The front of a run on the device of a file."""
    from nas.devices.device_file import read_device_file
    from nas.run.reading import read
    from nas.winners.latency import the_run_among
    from nas.winners.on_device import measure_front, name_of

    file = read_device_file(device_file)
    run = the_run_among(names, as_json=False, most=most)
    if run is None:
        raise ConfigError("--device-file: needs a run's folder, whose front it measures. Give one, such as runs/hybrid.")
    reading = read(run)
    name = name_of(file, reading.search, device_file)
    measure_front(reading, file, console(full_width=True), name=name, most=most)


def _measure(names: list[str], asked: dict[str, object], *, most: int | None, as_json: bool) -> None:
    """Latencies of named networks, or of those of one run."""
    from nas.devices.conditions import conditions_of
    from nas.report.terminal import show_front
    from nas.run.folder import read_run
    from nas.winners.latency import record_latencies, show_latency, the_run_among
    from nas.winners.lookup import counted_at

    run = the_run_among(names, as_json=as_json, most=most)
    sizes = {counted_at(name)[0] for name in names} if run is None else {read_run(run)[1].space.image_size}
    if len(sizes) > 1 and asked["image_size"] is None:
        raise ConfigError(
            f"--image-size: must be given for networks of several sizes ({', '.join(map(str, sorted(sizes)))} px)."
        )
    own = sizes.pop()
    conditions = conditions_of({**asked, "image_size": asked["image_size"] or own})
    if run is None:
        return show_latency(names, conditions, console(full_width=True), as_json=as_json)
    record_latencies(run, conditions, console(full_width=True), most=most)
    return show_front((run,), console(full_width=True), x="latency_ms")


@app.command()
def gradcam(
    targets: _Targets,
    out: Annotated[Path, path_option(help="The folder to write into, one PNG an image.")] = Path("gradcam"),
    image_size: _InputSize = None,
) -> None:
    """Show where networks look: for each image, one Grad-CAM heat map a network, side by side.

    Example: `nas gradcam exported/17 runs/hybrid:3 cat.jpg dog.png --out maps`
    """
    from nas.winners.gradcam import is_random, split_targets, write_maps

    checkpoints, images = split_targets(targets)
    for name in filter(is_random, checkpoints):
        typer.echo(
            f"{printable(name)}: no weights of it lie on this machine, and none are downloaded: its map is of random weights."
        )
    for file in write_maps(checkpoints, images, out, image_size=image_size):
        typer.echo(printable(str(file)))
