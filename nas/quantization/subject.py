"""What is to be quantised: a network with its weights, the images that belong to it, and how files become those images."""

from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from torch import nn

from nas.config.text import read_json
from nas.data.manifest import MEAN, STD, Manifest
from nas.data.progress import shown_decoding
from nas.errors import ConfigError
from nas.models.reparam import merge
from nas.quantization.images import ShownImages, images_of_export, shown_images
from nas.recipes.recipe import Recipe
from nas.retraining.folder import trained_folder
from nas.run.folder import RunFolder
from nas.training.trained import folder_network, own_network
from nas.winners.lookup import Trained, run_and_trial, trained_trial


class Subject(NamedTuple):
    """A network to quantise."""

    name: str
    """Its architecture in a line."""
    network: nn.Module
    """As it is deployed: affine mixers are merged."""
    manifest: Manifest
    recipe: Recipe
    preprocessing: dict[str, Any]
    """timm's words for how files become images: input_size, crop_pct, interpolation, mean, std."""
    notes: tuple[str, ...] = ()

    @property
    def image_size(self) -> int:
        """Pixels a side."""
        return self.preprocessing["input_size"][-1]

    def shown(self, number: int) -> ShownImages:
        """Its images, `number` of them to calibrate by."""
        return shown_images(self.manifest, self.recipe, image_size=self.image_size, number=number)


def subject_of(target: Path, *, data: str | None, console: Console) -> Subject:
    """The network of RUN:TRIAL, of a folder of `nas retrain` or of one of `nas export`; ConfigError for anything else.

    `data` are the images of an export, whose name alone it holds; a run and a retraining know where theirs lie.
    """
    run, trial = run_and_trial(target)
    if trial is None and (target / "config.json").is_file():
        return _exported_subject(target, data, console)
    if data is not None:
        raise ConfigError(f"--data: is for an export; {target} knows its own images. Leave it out.")
    if trial is None and RunFolder(target).search_yaml.is_file():
        raise ConfigError(f"{target}: is a search's folder. Say which network, {target}:NUMBER, or take all with --front.")
    return trained_subject(trained_folder(target) if trial is None else trained_trial(run, trial))


def trained_subject(trained: Trained) -> Subject:
    """A network of a run or of a retraining."""
    size = trained.recipe.full_size
    network = own_network(trained.architecture, trained.weights, image_size=size)
    settings = {"crop_pct": trained.crop_pct, "interpolation": trained.interpolation, "mean": MEAN, "std": STD}
    return Subject(
        trained.architecture.describe(),
        merge(network, trained.architecture)[0],
        trained.manifest,
        trained.recipe,
        {"input_size": [3, size, size], **settings},
        trained.notes,
    )


def _exported_subject(root: Path, data: str | None, console: Console) -> Subject:
    """An exported network, whose weights are those that its checksum names."""
    loaded, written = folder_network(root), read_json(root / "config.json")
    with shown_decoding(console, image_size=loaded.image_size) as on_decoded:
        manifest, recipe, notes = images_of_export(root, data, on_decoded=on_decoded)
    return Subject(written["architecture"], loaded.model, manifest, recipe, written["pretrained_cfg"], tuple(notes))
