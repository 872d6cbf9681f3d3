"""How to train at full scale, as a value: a recipe with what a proxy never needs. It imports without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from nas.config.layers import merged_layers, place_in, read_layers, with_settings
from nas.config.values import Flag, Value, broken, validated
from nas.recipes.by_size import BySize, at_size, place
from nas.recipes.recipe import Area, Count, NotNegative, Recipe, Schedule, Share
from nas.shipped import yaml_path
from nas.space.architecture import Architecture

ELSEWHERE: dict[str, bool | dict[str, bool]] = {
    "data": True,
    "device_batch": True,
    "compile": True,
    "loader": {"workers": True},
}
"""Where and with which memory a training runs: what may change before it goes on."""


class Loader(Value):
    """Images read batch by batch with timm's augmentation, for data too large to lie decoded in memory.

    Other processes decode and crop; what comes after that is computed in batches on the device. Of the recipe's own
    augmentation it takes crop_scale (else timm's 0.08 to 1), flip, random_erasing, mixup and cutmix.
    """

    workers: Annotated[int, Field(strict=True, ge=0, le=1_000)] = 8
    """Processes that decode, for each process that trains. Their number changes nothing but the speed; of a stream (wds/) it
    also decides what is drawn."""
    auto_augment: Annotated[str, Field(min_length=1)] | None = "rand-m9-mstd0.5-inc1"
    """timm's text for RandAugment (arXiv:1909.13719) or AutoAugment; None draws none."""
    color_jitter: NotNegative | None = 0.4
    """Brightness, contrast and saturation; timm leaves it out where auto_augment draws colours itself."""
    interpolation: Literal["bilinear", "bicubic", "random"] = "random"
    """In training; images that are judged are scaled bicubically."""
    erasing: Literal["const", "rand", "pixel"] = "pixel"
    """What random_erasing fills with: the mean colour, one random colour, noise."""
    test_crop: BySize[Area] = 0.95
    """Share of the scaled image's side that is judged, cut from its middle; it can go by size, {s36: 0.9, m36: 0.95}."""


class FullRecipe(Recipe):
    """A full training. Where nothing else is said, the images are decoded once and lie in memory, as in a proxy's training."""

    validates_raw: ClassVar[bool] = True

    validation_share: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    """Share of the training images held out to follow the training by; of 0 all are trained on and only the loss is seen. The
    test split is read once, after the last epoch, whatever stands here."""
    optimizer: Annotated[str, Field(min_length=1)] = "adamw"
    """timm's name of it (create_optimizer_v2)."""
    retry_lr: Literal[None] = None
    """A full training that diverges is an error."""
    schedule: Schedule = "warmup_then_cosine"
    """How the learning rate goes. A line up in the warm-up and a whole cosine behind it; or timm's cosine, which counts from
    the first epoch, so that the warm-up stands in the place of its beginning (create_scheduler_v2): with a new rate at each
    step, or, by_epoch, at each epoch, as the papers' training has it."""
    warmup_lr: Share = 0.0
    """Learning rate at the start of the warm-up, as a share of lr."""
    min_lr: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.01
    """Learning rate at the end of the cosine, as a share of lr; 1 keeps it constant."""
    cooldown_epochs: Annotated[int, Field(strict=True, ge=0)] = 0
    """The last of `epochs`, which train at the smallest rate."""
    device_batch: Count | None = None
    """Most images that one device takes at once: the gradients of several such parts are added up to those of a batch. None
    takes a device's whole share of batch_size."""
    ema_warmup: Flag = True
    """Whether the average's decay rises to `ema` from 0, as a training from random weights needs it; else it is constant."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """What to start from: a folder that `nas retrain` or `nas export` wrote, or safetensors; None starts from random weights.
    A classifier for another number of classes begins anew."""
    keep: Literal["last", "best"] = "last"
    """Which epoch's weights become model.safetensors and are tested: the last one's, or those best on the held-out images."""
    loader: Loader | None = None

    @property
    def annealed_epochs(self) -> int:
        """Epochs at whose end the learning rate has come down."""
        return self.epochs - self.cooldown_epochs

    @property
    def part_size(self) -> int | None:
        """Most images whose gradients a device computes at once."""
        return self.device_batch

    @property
    def course(self) -> Schedule:
        """How the learning rate goes."""
        return self.schedule

    @property
    def first_lr(self) -> float:
        """Learning rate at the start of the warm-up, as a share of lr."""
        return self.warmup_lr

    @property
    def ema_rises(self) -> bool:
        """Whether the average's decay rises to `ema` during the training."""
        return self.ema_warmup

    def for_network(self, architecture: Architecture) -> "FullRecipe":
        """The recipe with the one value that each setting by size has for a network."""
        chosen = {name: at_size(setting, architecture) for name, setting in self._by_size().items()}
        crop = chosen.pop("loader.test_crop", None)
        loader = self.loader if self.loader is None or crop is None else self.loader.model_copy(update={"test_crop": crop})
        return self.model_copy(update={**chosen, "loader": loader})

    def choice_by_size(self, architecture: Architecture) -> str | None:
        """In words, what the settings by size come to for a network and why; None without such settings."""
        settings = self._by_size()
        if not settings:
            return None
        values = ", ".join(f"{name} {at_size(setting, architecture):g}" for name, setting in settings.items())
        sizes = {size for setting in settings.values() for size in setting}
        return f"{values}: by size, {place(sizes, architecture)}"

    def _by_size(self) -> dict[str, dict[str, float]]:
        """The settings that go by size, by their dotted paths."""
        able = {"drop_path": self.drop_path, "head_dropout": self.head_dropout}
        if self.loader is not None:
            able["loader.test_crop"] = self.loader.test_crop
        return {name: setting for name, setting in able.items() if isinstance(setting, dict)}

    @model_validator(mode="after")
    def _full_scale_agrees(self) -> "FullRecipe":
        if self.warmup_epochs >= self.annealed_epochs:
            rule = f"must leave more than warmup_epochs={self.warmup_epochs:g} of epochs={self.epochs}"
            raise broken("cooldown_epochs", f"{rule}, but got {self.cooldown_epochs}; shorten it or train longer")
        if self.keep == "best" and not self.validation_share:
            raise broken("keep", "must be last where validation_share is 0, but got 'best'; hold some images out, say 0.02")
        return self


def read_full_recipe(name: str | Path, *, settings: Sequence[str] = ()) -> FullRecipe:
    """The recipe in a YAML file, or in a shipped one of that name, with each "a.b=value" of `settings` laid over it."""
    path = yaml_path(name, "recipe", where="--recipe")
    layers = read_layers(path, "recipe")
    return validated(FullRecipe, with_settings(merged_layers(layers), settings), where=place_in(layers, settings))
