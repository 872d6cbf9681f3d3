"""What a user names, as an architecture: a reference design, a JSON file, RUN:TRIAL, or a folder of weights."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from nas.config.text import read_json
from nas.config.values import validated
from nas.data.decoding import decode
from nas.data.manifest import Manifest, read_manifest
from nas.data.source import open_image
from nas.errors import ConfigError, NasError, unknown
from nas.recipes.recipe import Recipe, Side
from nas.run.folder import RunFolder, read_run, retrain_command
from nas.run.reading import Reading, read
from nas.run.record import Record
from nas.run.settings.search import Search
from nas.space.architecture import Architecture, read_architecture
from nas.space.cost import cost
from nas.space.families import designed, is_scaled
from nas.space.reference import IMAGENET_CLASSES, IMAGENET_PIXELS, designs
from nas.terminal import command
from nas.units import count

if TYPE_CHECKING:  # a table needs no torch
    from torch import Tensor

    from nas.export.proof import Seen


MOST_DIGITS_OF_A_TRIAL = 18
NEAREST_TRIALS = 6  # that are named where one does not exist


class Trained(NamedTuple):
    """Weights on disk and what they are the weights of."""

    architecture: Architecture
    weights: Path
    recipe: Recipe
    manifest: Manifest
    """The images that they were trained on."""
    provenance: dict[str, Any]
    seen: "Seen"
    """What image files become before the network is judged by them."""
    interpolation: str = "bilinear"
    crop_pct: float = 1.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to mind about its images, and about an accuracy on them."""
        return self.manifest.notes + self.manifest.uneven("test" if self.provenance.get("split") == "test" else "validation")


def seen_in_memory(files: Sequence[Path], size: int) -> "Tensor":
    """Image files as a proxy training, or another that decodes them beforehand, is judged by them: `(N, 3, size, size)`."""
    import torch

    from nas.training.augment import normalised

    pixels = []
    for file in files:
        with open_image(file) as image:
            pixels.append(torch.from_numpy(decode(image, size).copy()))
    return normalised(torch.stack(pixels))


def is_number(text: str) -> bool:
    """Whether a text is a trial's number, in the digits that Python reads."""
    return text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS_OF_A_TRIAL


def run_and_trial(target: Path, trial: int | None = None) -> tuple[Path, int | None]:
    """A run's folder and the number behind its colon, as in runs/hybrid:17; ConfigError where `trial` is another one.

    Without a number, or where a folder is really called so, the path is the folder's.
    """
    run, colon, number = str(target).rpartition(":")
    if not (colon and run and is_number(number)) or target.is_dir():
        return target, trial
    if trial not in (None, int(number)):
        raise ConfigError(f"--trial: must be the one behind the colon of {target}, or left out, but got {trial}.")
    return Path(run), int(number)


def architecture_of(target: str, *, image_size: int = IMAGENET_PIXELS, num_classes: int = IMAGENET_CLASSES) -> Architecture:
    """The architecture behind a design's name, a .json file, RUN:TRIAL, or a folder of `nas export` or `nas retrain`.

    ConfigError with the nearest names otherwise.

    A family scaled to a cost, such as caformer@0.6G, is scaled to it at `image_size` and `num_classes`.
    """
    if target in designs() or is_scaled(target):
        return designed(target, partial(cost, image_size=image_size, num_classes=num_classes))
    run, trial = run_and_trial(Path(target))
    if trial is not None:
        return trial_of(run, trial).architecture
    if Path(target).is_dir():
        return _in_folder(Path(target))
    if target.endswith(".json") or Path(target).is_file():
        return read_architecture(Path(target))
    raise ConfigError(
        f"{unknown('design', target, designs())} A .json file, RUN:TRIAL, such as runs/hybrid:17, or a folder of nas export "
        "or nas retrain will do as well."
    )


def _in_folder(root: Path) -> Architecture:
    """What was trained, or exported, in a folder."""
    if RunFolder(root).search_yaml.is_file():
        raise ConfigError(f"{root}: is a search's folder. Say which network: {root}:NUMBER.")
    if (root / "config.json").is_file():
        return _Export.of(root).metaformer.architecture
    if (root / "architecture.json").is_file():
        return read_architecture(root / "architecture.json")
    raise ConfigError(
        f"{root}: must hold what `nas retrain` (architecture.json) or `nas export` (config.json) wrote, but has neither."
    )


def _retrained_at(root: Path) -> tuple[int, int]:
    """Image size and number of classes of a retraining that has begun; the papers' for another folder."""
    from nas.recipes.full import read_full_recipe

    if not all((root / name).is_file() for name in ("recipe.yaml", "manifest.json")):
        return IMAGENET_PIXELS, IMAGENET_CLASSES
    return read_full_recipe(root / "recipe.yaml").full_size, len(read_manifest(root / "manifest.json").class_names)


class _Written(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Network(_Written):
    architecture: Architecture


class _Images(_Written):
    input_size: tuple[int, int, Side]


class _Export(_Written):
    """Of an export's config.json that which costs are counted by."""

    metaformer: _Network
    num_classes: Annotated[int, Field(strict=True, ge=0)]
    pretrained_cfg: _Images

    @classmethod
    def of(cls, root: Path) -> "_Export":
        return validated(cls, read_json(root / "config.json"), where=str(root / "config.json"))


def counted_at(target: str) -> tuple[int, int]:
    """Image size and number of classes at which a run counts its trials, or that a network was trained or exported for.

    The papers' 224 and 1,000 for anything else.
    """
    run, trial = run_and_trial(Path(target))
    if target in designs() or is_scaled(target) or (trial is None and not run.is_dir()):
        return IMAGENET_PIXELS, IMAGENET_CLASSES
    if trial is None and (run / "config.json").is_file():
        exported = _Export.of(run)
        return exported.pretrained_cfg.input_size[-1], exported.num_classes
    if trial is None:
        return _retrained_at(run)
    space = read_run(run)[1].space
    return space.image_size, space.num_classes


def trial_of(run: Path, number: int) -> Record:
    """A trial that was trained; NasError if there is none of that number."""
    reading = read(run)
    record = recorded_trial(reading, number)
    return record if record.answered_from is None else reading.record(record.answered_from)


def recorded_trial(reading: Reading, number: int) -> Record:
    """A trial that was not turned down; NasError with the nearest numbers if there is none of that number."""
    trials = {record.number: record for record in reading.trials}
    if number not in trials:
        root = reading.folder.root
        near = ", ".join(map(str, sorted(sorted(trials, key=lambda n: abs(n - number))[:NEAREST_TRIALS])))
        raise NasError(f"{root}: has no trial {number}. The nearest are {near or 'none yet'}; see: {command('front', root)}")
    return trials[number]


def _as_counted(record: Record, search: Search) -> str:
    """What the search's tables say of a network's MACs, and at which size they count."""
    space = search.space
    return f"{count(record.cost.macs)} MACs at {space.image_size} px and {space.num_classes:,} classes"


def trained_trial(run: Path, number: int) -> Trained:
    """The proxy weights of a complete trial; NasError with the way out if it failed or its weights were not kept."""
    from nas.recipes.as_trained import as_trained

    folder, search = read_run(run)
    record = trial_of(run, number)
    if record.accuracy is None:
        raise NasError(
            f"{run}: trial {number} is {record.state} ({record.cause or 'no result yet'}). Choose one that is complete."
        )
    weights = folder.weights(record.number)
    if not weights.is_file():
        why = (
            "were not kept, only those near the front and of the baselines are"
            if record.source is None
            else f"are not in this run: it was answered from {record.source}, whose weights may be there still"
        )
        raise NasError(
            f"{run}: the weights of trial {number} {why}. "
            f"Train it, and export the folder: {retrain_command(run, search, number)}"
        )
    manifest = read_manifest(folder.manifest)
    provenance = {
        "run": search.name,
        "trial": record.number,
        "counted": _as_counted(record, search),
        "accuracy": record.accuracy,
        "split": "search-validation (images of the training split; a proxy training, not a final one)",
        "recipe": search.proxy.model_dump(mode="json"),
        "seed": record.seed,
        "manifest": record.manifest,
        "versions": record.versions,
    }
    architecture = as_trained(record.architecture, search.proxy)
    return Trained(architecture, weights, search.proxy, manifest, provenance, seen_in_memory)
