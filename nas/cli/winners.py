"""Verbs that take a network out of a run: trained at full scale, written for timm."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import DataOption, Set, absolute, app, as_settings


@app.command()
def retrain(
    run: Annotated[str, typer.Argument(help="A run's folder (with --trial, --knee or --front), a design's name, or a .json.")],
    recipe: Annotated[str, typer.Option(help="How to train: a shipped name, such as caformer_300 or digits_quick, or a YAML.")],
    out: Annotated[Path, typer.Option(help="The folder to write; the same command again continues there.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial, as in the table of the front.")] = None,
    knee: Annotated[bool, typer.Option("--knee", help="The front's knee.")] = False,
    front: Annotated[
        bool, typer.Option("--front", help="All on the front or tied with it within the noise; baselines.")
    ] = False,
    data: DataOption = None,
    weights: Annotated[str | None, typer.Option(help="What to start from: the folder of a retraining, or safetensors.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of weights and batches.", min=0, max=2**32 - 1)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that train one network together, a GPU each.", min=1)] = 1,
    parallel: Annotated[int, typer.Option(help="With --front: networks trained at once.", min=1)] = 1,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto, or host:port.")] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard events as well.")] = False,
    set_: Set = [],  # noqa: B006
) -> None:
    """Train found architectures on the full training split and evaluate each once on the test split.

    Under `torchrun -m nas retrain …` all its processes train one network together; --workers does the same on Ray.

    Example: `nas retrain runs/hybrid --trial 17 --recipe digits_quick --out runs/17`
    """
    from rich.console import Console

    from nas.recipes.full import read_full_recipe
    from nas.retraining.command import Machines, show_front_retraining, show_retraining
    from nas.retraining.train import Job, checked
    from nas.winners.selection import chosen

    found = chosen(run, trial=trial, knee=knee, front=front)
    settings = [*as_settings({"data": absolute(data), "weights": weights}), *set_]
    job = {"recipe": checked(read_full_recipe(recipe, settings=settings)), "out": out, "seed": seed, "device": device}
    machines = Machines(workers, parallel, address)
    if front:
        show_front_retraining(Path(run), found, job, machines, tensorboard=tensorboard, console=Console())
    else:
        (only,) = found
        job = Job(architecture=only.architecture, origin=only.origin, **job)
        show_retraining(job, machines, tensorboard=tensorboard, console=Console())


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run's folder (with --trial), or the folder of a finished retraining.")],
    out: Annotated[Path, typer.Option(help="The directory to write; it must be new.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial, as in the table of the front.")] = None,
    format_: Annotated[
        list[str], typer.Option("--format", help="timm, onnx, torch-export; may repeat. timm's files are always there.")
    ] = ["timm"],  # noqa: B006
    image_size: Annotated[
        int | None, typer.Option(help="Pixels a side that the network is meant for, if not those it was trained at.", min=4)
    ] = None,
    license_: Annotated[str, typer.Option("--license", help="Identifier for the model card, such as apache-2.0.")] = "unknown",
    push: Annotated[str | None, typer.Option(metavar="ORG/NAME", help="Upload it to the Hugging Face hub as well.")] = None,
    private: Annotated[bool, typer.Option("--private", help="With --push: a repository that only you can see.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> None:
    """Write a trained network as a directory that timm loads, after proving in a fresh process that it does.

    Example: `nas export runs/hybrid --trial 17 --out exported/17`
    """
    from nas.data.manifest import MEAN, STD
    from nas.export.directory import Description
    from nas.export.directory import export as export_model
    from nas.export.hub import check_hub
    from nas.export.hub import push as push_model
    from nas.export.level import MEANING
    from nas.retraining.folder import trained_folder
    from nas.training.trained import read_weights
    from nas.winners.lookup import trained_trial

    if push is not None:
        check_hub(push)
    trained = trained_folder(run) if trial is None else trained_trial(run, trial)
    loader = getattr(trained.recipe, "loader", None)  # a proxy's recipe knows none: it sees whole images
    origin = {**trained.provenance, "data": trained.recipe.data, "image_size": trained.recipe.full_size}
    level = export_model(
        trained.architecture,
        read_weights(trained.weights),
        out,
        Description(trained.class_names, MEAN, STD, origin, crop_pct=loader.test_crop if loader else 1.0, license=license_),
        image_size=image_size or trained.recipe.full_size,
        num_classes=len(trained.class_names),
        formats=format_,
        force=force,
    )
    typer.echo(
        f"{out}: a fresh process loaded it through timm and computed the same logits.\n"
        f"Level {level.letter}, {MEANING[level.letter]}. How to load it: {out / 'README.md'}"
    )
    if push is not None:
        typer.echo(f"uploaded: {push_model(out.absolute(), push, private=private)}")
