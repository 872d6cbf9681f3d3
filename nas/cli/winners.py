"""Verbs that take a network out of a run: trained at full scale, written for timm."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import AddressOption, DataOption, Set, TrialOption, app, as_settings, console, path_argument, path_option
from nas.cli.waiting import WaitOption, start_again
from nas.files import at_home

_Networks = Annotated[
    str,
    typer.Argument(parser=at_home, help="RUN:TRIAL, a run's folder (with --trial, --knee, --front), a design's name, a .json."),
]
_RecipeOption = Annotated[
    str, typer.Option("--recipe", help="How to train: a shipped name, such as caformer_300 or digits_quick, or a YAML.")
]
_TrainingFolder = Annotated[
    Path,
    path_option("--out", help="The folder to write; the same command again continues there."),
]
_Knee = Annotated[bool, typer.Option("--knee", help="The front's knee.")]
_Front = Annotated[bool, typer.Option("--front", help="All on the front or tied with it within the noise; baselines.")]
_Weights = Annotated[str | None, typer.Option(help="What to start from: the folder of a retraining, or safetensors.")]
_Seed = Annotated[int, typer.Option(help="Seed of weights and batches.", min=0, max=2**32 - 1)]
_Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
_Workers = Annotated[int, typer.Option(help="Processes that train one network together, a GPU each.", min=1)]
_MinWorkers = Annotated[
    int | None, typer.Option(help="With --workers on a cluster: as few go on where others are lost or can't be had.", min=1)
]
_Parallel = Annotated[int, typer.Option(help="With --front: networks trained at once.", min=1)]
_TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events as well.")]
_Trained = Annotated[
    Path,
    path_argument(help="RUN:TRIAL, a run's folder (with --trial or --knee), or the folder of a finished retraining."),
]
_ExportFolder = Annotated[Path, path_option("--out", help="The directory to write; it must be new.")]
_Formats = Annotated[
    list[str],
    typer.Option(
        "--format",
        help="onnx (onnx@19 for that operator set), torch-export, openvino, litert, executorch, coreml; may repeat. timm's "
        "files are always there.",
    ),
]
_ImageSize = Annotated[
    int | None,
    typer.Option(help="Pixels a side that the network is meant for, if not those it was trained at.", min=4, max=10_000),
]
_License = Annotated[str, typer.Option("--license", help="Identifier for the model card, such as apache-2.0.")]
_Push = Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Upload it to the Hugging Face hub as well.")]
_Private = Annotated[bool, typer.Option("--private", help="With --push: a repository that only you can see.")]
_Force = Annotated[bool, typer.Option("--force", help="Replace what an earlier call wrote there.")]
_ToQuantise = Annotated[
    Path, path_argument(help="RUN:TRIAL, a folder of nas retrain or of nas export; with --knee or --front a run's folder.")
]
_Int8Folder = Annotated[
    Path | None, path_option("--out", help="The directory to write; with --front the run's record is written to.")
]
_ExportsData = Annotated[
    str | None, typer.Option("--data", help="The images of an export, where its name for them is no place.")
]
_Images = Annotated[int, typer.Option(help="Training images to calibrate by.")]
_MostChanged = Annotated[
    float,
    typer.Option(
        help="Per cent of other training images whose answer may change; beyond it what hurts most stays in float.",
        min=0,
        max=100,
    ),
]
_EveryOperator = Annotated[
    bool, typer.Option("--all-operators", help="Sums, scales and activations in int8 as well, not the products alone.")
]
_Int8Front = Annotated[bool, typer.Option("--front", help="All on the front or tied with it; into the run's record.")]
_Int8Threads = Annotated[int, typer.Option(help="CPU threads that are timed.", min=1)]


@app.command()
def retrain(
    run: _Networks,
    recipe: _RecipeOption,
    out: _TrainingFolder,
    trial: TrialOption = None,
    knee: _Knee = False,
    front: _Front = False,
    data: DataOption = None,
    weights: _Weights = None,
    seed: _Seed = 0,
    device: _Device = "auto",
    workers: _Workers = 1,
    min_workers: _MinWorkers = None,
    parallel: _Parallel = 1,
    address: AddressOption = None,
    wait_for_cluster: WaitOption = None,
    tensorboard: _TensorBoard = False,
    set_: Set = [],  # noqa: B006
) -> None:
    """Train found architectures on the full training split and evaluate each once on the test split.

    It trains on --data, else on the images of the run unless these were the digits, else on what the recipe names. Under
    `torchrun -m nas retrain …` all its processes train one network together; --workers does the same on Ray.

    Example: `nas retrain runs/hybrid:17 --recipe digits_quick --out runs/17`
    """
    from nas.recipes.full import read_full_recipe
    from nas.retraining.command import Machines, Order, show_front_retraining, show_retraining
    from nas.retraining.train import checked
    from nas.winners.selection import own_data, selected

    networks = selected(run, trial=trial, knee=knee, front=front)
    settings = [*as_settings({"data": data or own_data(run), "weights": weights}), *set_]
    order = Order(checked(read_full_recipe(recipe, settings=settings)), out, seed, device, tensorboard)
    machines = Machines(workers, parallel, address, min_workers, start_again(address, wait_for_cluster))
    if front:
        show_front_retraining(Path(run), networks, order, machines, console=console(lasting=True))
    else:
        show_retraining(networks[0], order, machines, console=console(lasting=True))


@app.command()
def export(
    run: _Trained,
    out: _ExportFolder,
    trial: TrialOption = None,
    knee: _Knee = False,
    format_: _Formats = ["timm"],  # noqa: B006
    image_size: _ImageSize = None,
    license_: _License = "unknown",
    push: _Push = None,
    private: _Private = False,
    force: _Force = False,
) -> None:
    """Write a trained network as a directory that timm loads, after proving in a fresh process that it does.

    Example: `nas export runs/hybrid:17 --out exported/17`
    """
    from nas.export.hub import check_hub, push_directory
    from nas.export.level import MEANING
    from nas.retraining.folder import trained_folder
    from nas.winners.export import export_trained
    from nas.winners.lookup import trained_trial
    from nas.winners.selection import the_trial

    if push is not None:
        check_hub(push)
    run, trial = the_trial(run, trial, knee=knee)
    trained = trained_folder(run) if trial is None else trained_trial(run, trial)
    level = export_trained(trained, out, image_size=image_size, formats=format_, license_name=license_, force=force)
    typer.echo(
        f"{out}: a fresh process loaded it through timm and computed the same logits.\n"
        f"Level {level.letter}, {MEANING[level.letter]}. How to load it: {out / 'README.md'}"
    )
    for note in trained.notes:
        typer.echo(f"mind: {note}")
    if push is not None:
        typer.echo(f"uploaded: {push_directory(out.absolute(), push, private=private)}")


@app.command()
def quantize(
    network: _ToQuantise,
    trial: TrialOption = None,
    knee: _Knee = False,
    out: _Int8Folder = None,
    front: _Int8Front = False,
    data: _ExportsData = None,
    images: _Images = 128,
    most_changed: _MostChanged = 1.0,
    all_operators: _EveryOperator = False,
    threads: _Int8Threads = 1,
    force: _Force = False,
) -> None:
    """Write a trained network in 8-bit integers for ONNX Runtime, with its accuracy and speed before and after.

    With --front all networks of a run's front are quantised and timed into its record: `nas front RUN --int8`.

    Example: `nas quantize runs/hybrid:17 --out int8/17`
    """
    from nas.quantization.command import check_asked, quantise_one
    from nas.quantization.front import quantise_front
    from nas.quantization.quantise import Int8Plan
    from nas.winners.selection import the_trial

    is_one = knee or trial is not None
    check_asked(network, out=out, front=front, is_one=is_one, data=data, most_changed=most_changed)
    network, trial = the_trial(network, trial, knee=knee)
    if trial is not None:
        network = Path(f"{network}:{trial}")
    plan = Int8Plan(most_changed / 100, all_operators, threads)
    if front:
        quantise_front(network, plan, console(full_width=True), images=images)
    elif out is not None:
        quantise_one(network, out, plan, console(full_width=True), data=data, images=images, force=force)
