"""The verbs of the command line. Each imports what it needs when it is called, so that help is instant."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from nas.errors import NasError

app = typer.Typer(
    help="Neural architecture search over MetaFormer designs: a YAML space in, a Pareto front and working timm models out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Set = Annotated[
    list[str], typer.Option("--set", metavar="A.B=VALUE", help="Any other setting of the YAML, checked like the file.")
]
Run = Annotated[Path, typer.Argument(help="A run's folder, such as runs/hybrid.")]
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="digits, an image folder or a tar of one (train/, val/, or classes), or a timm name."),
]
StorageOption = Annotated[
    str | None, typer.Option("--storage", help="Optuna storage URL instead of study.db in the run's folder.")
]


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

    from nas.search.settings import read_search

    flags = {
        "search.trials": trials,
        "proxy.data": _absolute(data),
        "search.seed": seed,
        "resources.workers": workers,
        "resources.address": address,
        "search.storage": storage,
    }
    settings = read_search(file, settings=[*_as_settings(flags), *set_])

    from nas.results.report import show_result  # torch and Ray take seconds: a wrong file is said before
    from nas.search.run import search as run_search

    root = out or Path("runs") / settings.name
    console = Console()
    try:
        run_search(settings, root=root, console=console)
    except KeyboardInterrupt:
        console.print(f"\nStopped. Nothing that finished is lost; this continues: {_again()}", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    show_result(root, console)


@app.command()
def front(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs, such as runs/hybrid; several share one front.")],
    x: Annotated[str | None, typer.Option("--x", help="Another cost: macs, params, activation_bytes, seconds.")] = None,
    max_macs: Annotated[str | None, typer.Option(help="Leave out what costs more, such as 1.5G.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the front as JSON instead of a table.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the front as CSV instead of a table.")] = False,
) -> None:
    """Show the Pareto front of a run or of several, also while they run.

    Of one run as it is, trials.csv, front.csv and front.png are written into it.

    Example: `nas front runs/hybrid --x params --max-macs 1.5G`
    """
    from rich.console import Console

    from nas.errors import ConfigError
    from nas.results.front_table import WIDE, most_macs, show_front

    if as_json and as_csv:
        raise ConfigError("--json and --csv: one output at a time, but got both; leave one out.")
    output = "json" if as_json else "csv" if as_csv else "table"
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    show_front(runs[0], console, others=tuple(runs[1:]), x=x, max_macs=most_macs(max_macs), output=output)


@app.command()
def report(
    run: Run,
    against: Annotated[list[Path], typer.Option(help="Another run beside its hypervolume, say a random search.")] = [],  # noqa: B006
) -> None:
    """Write a run's report: one HTML page that needs no network, and its pictures.

    Example: `nas report runs/hybrid --against runs/random`
    """
    from rich.console import Console

    from nas.results.page import write_report

    write_report(run, Console(), against=tuple(against))


@app.command()
def compare(
    run: Run,
    other: Annotated[Path, typer.Argument(help="The folder of the run to compare it with.")],
) -> None:
    """Compare two runs: hypervolume with bootstrap intervals, the joint front, the cost to reach the same.

    Example: `nas compare runs/tpe runs/random`
    """
    from rich.console import Console

    from nas.results.compare import show_comparison
    from nas.results.front_table import WIDE

    show_comparison((run, other), Console(width=None if sys.stdout.isatty() else WIDE))


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

    from nas.search.settings import read_search

    flags = {"proxy.data": _absolute(data), "resources.workers": workers, "resources.address": address}
    settings = read_search(file, settings=[*_as_settings(flags), *set_])

    from nas.results.calibrate import show_calibration, show_estimate
    from nas.search.calibration import calibrate as run_calibration
    from nas.search.calibration import calibrated

    console = Console()
    given = {"root": out or Path("runs") / settings.name, "where": str(file), "console": console}
    try:
        if show:
            plan, done = calibrated(settings, **given)
        else:
            plan, done = run_calibration(settings, **given, announce=partial(show_estimate, console=console))
    except KeyboardInterrupt:
        console.print(f"\nStopped. Nothing that finished is lost; this continues: {_again()}", highlight=False, soft_wrap=True)
        raise typer.Exit(130) from None
    show_calibration(plan, done, root=given["root"], console=console)


@app.command()
def space(
    file: Annotated[Path, typer.Argument(help="The search space, such as search_spaces/hybrid.yaml.")],
    set_: Set = [],  # noqa: B006
) -> None:
    """Dry run of a search space: its size, feasible share, spread of MACs and params, estimated cost. Trains nothing.

    Example: `nas space search_spaces/hybrid.yaml --set constraints.macs.max=1.0G`
    """
    from rich.console import Console

    from nas.results.dry_run import show_space
    from nas.search.settings import read_search

    show_space(read_search(file, settings=set_), Console())


@app.command()
def cost(
    target: Annotated[str, typer.Argument(help="A design's name, an architecture .json, or RUN:TRIAL.")],
    image_size: Annotated[int, typer.Option(help="Side of the square input image in pixels.", min=1)] = 224,
    num_classes: Annotated[int, typer.Option(help="Classes of the head.", min=1)] = 1000,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Params, MACs and activation memory of an architecture, in closed form.

    Example: `nas cost poolformer_s12 --image-size 224 --json`
    """
    from nas.results.lookup import architecture_of
    from nas.space.cost import cost as cost_of

    architecture = architecture_of(target)
    found = cost_of(architecture, image_size=image_size, num_classes=num_classes)
    if as_json:
        typer.echo(json.dumps({"name": target, "image_size": image_size, "num_classes": num_classes, **found._asdict()}))
    else:
        from rich.console import Console

        from nas.results.dry_run import show_cost

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
    from nas.results.tables import WIDE, show_tables

    if as_json and as_csv:
        raise ConfigError("--json and --csv: one output at a time, but got both; leave one out.")
    output = "json" if as_json else "csv" if as_csv else "text"
    if not show_tables(Console(width=None if sys.stdout.isatty() else WIDE), output=output):
        raise typer.Exit(1)


@app.command()
def latency(
    names: Annotated[list[str], typer.Argument(help="Designs, architecture .json files, RUN:TRIAL or timm:NAME.")],
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    batch: Annotated[int, typer.Option(help="Images at once.", min=1)] = 16,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16.")] = "float32",
    image_size: Annotated[int, typer.Option(help="Side of the square input image in pixels.", min=1)] = 224,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="NHWC memory instead of NCHW.")] = False,
    compiled: Annotated[bool, typer.Option("--compile", help="With torch.compile instead of eager.")] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads.", min=1, show_default="torch's choice")] = None,
    warm_up: Annotated[int, typer.Option(help="Passes of each network before the first that counts.", min=0)] = 3,
    repeats: Annotated[int, typer.Option(help="Rounds; in each, every network runs once.", min=2)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
) -> None:
    """Measure forward passes on this machine, several networks in turns, with each one's speed over the first.

    Example: `nas latency poolformer_s12 riformer_s12 --device cuda --batch 128 --dtype float16 --channels-last`
    """
    from rich.console import Console

    from nas.config import validated
    from nas.models.latency import Conditions
    from nas.results.timing import show_latency

    given = {
        "device": device,
        "batch": batch,
        "dtype": dtype,
        "image_size": image_size,
        "channels_last": channels_last,
        "compile": compiled,
        "threads": threads,
        "warm_up": warm_up,
        "repeats": repeats,
    }
    show_latency(names, validated(Conditions, given, where="nas latency"), Console(), as_json=as_json)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder (with --trial), or the folder of a finished retraining.")],
    out: Annotated[Path, typer.Option(help="The directory to write; it must be new.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial, as in the table of the front.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> None:
    """Write a trained network as a directory that timm loads, after proving in a fresh process that it does.

    Example: `nas export runs/hybrid --trial 17 --out exported/17`
    """
    from safetensors.torch import load_file

    from nas.results.export import export as export_model
    from nas.results.lookup import trained_folder, trained_trial
    from nas.training.data import MEAN, STD

    trained = trained_folder(run) if trial is None else trained_trial(run, trial)
    export_model(
        trained.architecture,
        load_file(trained.weights),
        out,
        image_size=trained.recipe.full_size,
        num_classes=len(trained.class_names),
        class_names=list(trained.class_names),
        mean=MEAN,
        std=STD,
        provenance=trained.provenance,
        force=force,
    )
    typer.echo(
        f"{out}: a fresh process loaded it through timm and computed the same logits. How to load it: {out / 'README.md'}"
    )


@app.command()
def retrain(
    run: Annotated[str, typer.Argument(help="A run's folder (with --trial), a design's name, or an architecture .json.")],
    recipe: Annotated[Path, typer.Option(help="How to train, such as experiments/recipes/retrain_digits.yaml.")],
    out: Annotated[Path, typer.Option(help="The folder to write; the same command again continues there.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial, as in the table of the front.")] = None,
    data: DataOption = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.", min=0)] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    set_: Set = [],  # noqa: B006
) -> None:
    """Train one architecture on the full training split and evaluate it once on the test split.

    Example: `nas retrain runs/hybrid --trial 17 --recipe experiments/recipes/retrain_digits.yaml --out runs/17`
    """
    from rich.console import Console

    from nas.results.lookup import architecture_of
    from nas.results.report import show_retraining
    from nas.training.recipe import read_recipe

    architecture = architecture_of(run if trial is None else f"{run}:{trial}")
    settings = read_recipe(recipe, settings=[*_as_settings({"data": _absolute(data)}), *set_])
    show_retraining(architecture, settings, out=out, seed=seed, device=device, console=Console())


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
    from nas.results.gradcam import gradcam as write_maps
    from nas.results.gradcam import is_random, split_targets

    checkpoints, images = split_targets(targets)
    for name in filter(is_random, checkpoints):
        typer.echo(f"{name}: no weights of it lie on this machine, and none are downloaded: its map is of random weights.")
    for file in write_maps(checkpoints, images, out, image_size=image_size):
        typer.echo(file)


def _again() -> str:
    """The command that was given."""
    script = Path(sys.argv[0])
    started = ["python", "-m", "nas"] if script.name == "__main__.py" else ["python", script.name] if script.suffix else ["nas"]
    return " ".join([*started, *sys.argv[1:]])


def _as_settings(flags: dict[str, object]) -> list[str]:
    return [f"{path}={json.dumps(value)}" for path, value in flags.items() if value is not None]


def _absolute(data: str | None) -> str | None:
    """A folder's full path, which holds in a worker's process as well; names stay."""
    return str(Path(data).resolve()) if data and Path(data).is_dir() else data


def main() -> NoReturn:
    """Run a verb; what a user can mend is one message and exit code 2."""
    run_reporting(app)


def run_reporting(command) -> NoReturn:
    """Call `command`; print a NasError, or a disk that is full or read-only, as one message and exit with code 2."""
    try:
        command()
    except NasError as error:
        message = str(error)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        message = f"{error.filename or 'the disk'}: {error.strerror}. Mend this or choose another place, and start again."
    except KeyboardInterrupt:
        sys.exit(130)
    else:
        sys.exit(0)
    typer.echo(f"error: {message}", err=True)
    sys.exit(2)
