"""The verb `nas devices`: what networks cost on a device, measured here or with a tool of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import Set, SpaceFile, app, console, path_argument, path_option

_Out = Annotated[Path, path_option("--out", help="The device file to write.")]
_Networks = Annotated[int, typer.Option(help="Networks to measure; more foretell better.", min=8)]
_Runtime = Annotated[
    str, typer.Option(help="torch, compile (torch.compile; a minute or two a network on a CPU), onnxruntime, onnxruntime-int8.")
]
_Device = Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")]
_Threads = Annotated[int | None, typer.Option(help="CPU threads.", show_default="the runtime's own", min=1)]
_Batch = Annotated[int, typer.Option(help="Images at once.", min=1)]
_Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
_ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Memory format channels_last.")]
_Graphs = Annotated[bool, typer.Option("--cuda-graphs", help="Kernels of a pass recorded once and started together.")]
_Minutes = Annotated[float, typer.Option(help="Time that the measuring may take.", min=0.1)]
_Seed = Annotated[int, typer.Option(help="Of the networks that are chosen.")]

devices_app = typer.Typer(
    no_args_is_help=True, help="What networks cost on a device: measured here, or with a tool of one's own."
)
app.add_typer(devices_app, name="devices")


@devices_app.command("measure")
def measure_device(
    file: SpaceFile,
    out: _Out,
    networks: _Networks = 80,
    runtime: _Runtime = "torch",
    device: _Device = "cpu",
    threads: _Threads = None,
    batch: _Batch = 1,
    dtype: _Dtype = "float32",
    channels_last: _ChannelsLast = False,
    cuda_graphs: _Graphs = False,
    minutes: _Minutes = 8.0,
    seed: _Seed = 0,
    set_: Set = [],  # noqa: B006
) -> None:
    """Measure networks of a space on this machine and write a device file, which foretells the latency of all others.

    Example: `nas devices measure hybrid --out devices/laptop.json --threads 1`
    """
    from nas.devices.conditions import conditions_of
    from nas.report.devices import measure_and_show
    from nas.run.settings.search import read_search

    search = read_search(file, settings=set_)
    asked: dict[str, object] = {"runtime": runtime, "device": device, "threads": threads, "batch": batch, "dtype": dtype}
    asked |= {"channels_last": channels_last, "cuda_graphs": cuda_graphs, "image_size": search.space.image_size}
    conditions = conditions_of(asked, where="nas devices measure")
    measure_and_show(search, conditions, console(), out=out, networks=networks, minutes=minutes, seed=seed)


@devices_app.command("ask")
def ask_device(
    file: SpaceFile,
    out: Annotated[Path, path_option("--out", help="The folder to write into.")],
    networks: Annotated[int, typer.Option(help="Networks to write; of 12 times at least is learnt.", min=12)] = 60,
    batch: _Batch = 1,
    seed: _Seed = 0,
    set_: Set = [],  # noqa: B006
) -> None:
    """Write networks as ONNX files, to be timed on a phone or board with a tool of one's own, and a table to fill in.

    Example: `nas devices ask hybrid --networks 60 --out phone`
    """
    from nas.devices.outside import FEWEST_ROWS, NETWORKS_FILE, TABLE_FILE, ask
    from nas.devices.sampling import informative
    from nas.run.settings.search import read_search
    from nas.terminal import command

    space = read_search(file, settings=set_).space
    chosen = informative(space, networks, seed=seed)
    ask(space, chosen, out, batch=batch)
    console().print(
        f"{len(chosen)} networks for batches of {batch} at {space.image_size} px, and {NETWORKS_FILE}, are in {out}. Time each "
        f"file on the device, write the milliseconds a batch into {out / TABLE_FILE} (at least {FEWEST_ROWS}), "
        f"then: {command('devices', 'learn', out, out / TABLE_FILE, '--out', 'devices/phone.json')}",
        soft_wrap=True,
    )


@devices_app.command("learn")
def learn_device(
    folder: Annotated[Path, path_argument(help="The folder that `nas devices ask` wrote.")],
    table: Annotated[Path, path_argument(help="A CSV with the columns file and latency_ms.")],
    out: _Out,
    name: Annotated[str, typer.Option(help="What the device is, such as its model.")] = "measured outside",
) -> None:
    """Make a device file of times that were measured elsewhere.

    Example: `nas devices learn phone phone/measured.csv --out devices/phone.json --name "Pixel 9, LiteRT, 1 thread"`
    """
    from nas.devices.device_file import check_target
    from nas.devices.outside import learn
    from nas.errors import few
    from nas.report.devices import show_device

    check_target(out)
    learnt = learn(folder, table, device=name)
    learnt.file.write(out)
    if learnt.missing:
        console().print(f"no time of {few(learnt.missing, most=10)}; the rest will do", soft_wrap=True)
    show_device(learnt.file, console(), path=out)


@devices_app.command("show")
def say_device(file: Annotated[Path, path_argument(help="A device file.")]) -> None:
    """Say what a device file was measured on, and how good it is.

    Example: `nas devices show devices/laptop.json`
    """
    from nas.devices.device_file import read_device_file
    from nas.report.devices import show_device

    show_device(read_device_file(file), console(), path=file)
