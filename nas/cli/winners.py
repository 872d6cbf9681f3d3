"""Verbs that take a network out of a run: trained at full scale, written for timm."""

from pathlib import Path
from typing import Annotated

import typer

from nas.cli.app import DataOption, Set, absolute, app, as_settings


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
    settings = read_recipe(recipe, settings=[*as_settings({"data": absolute(data)}), *set_])
    show_retraining(architecture, settings, out=out, seed=seed, device=device, console=Console())


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
