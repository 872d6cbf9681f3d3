"""How to train at full scale, as a value: a recipe with what a proxy never needs. It imports without torch."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from nas.config import Value, broken, read_yaml, validated, with_settings
from nas.recipes.recipe import Count, NotNegative, Recipe
from nas.shipped import yaml_path

ELSEWHERE: dict[str, bool | dict[str, bool]] = {
    "data": True,
    "device_batch": True,
    "compile": True,
    "loader": {"workers": True},
}
"""Where and with which memory a training runs: what may change before it goes on."""


class Loader(Value):
    """Images read batch by batch by timm's loader, with timm's augmentation, for data too large to lie decoded in memory.

    Of the recipe's own augmentation it takes crop_scale (else timm's 0.08 to 1), flip, random_erasing, mixup and cutmix.
    """

    workers: Annotated[int, Field(strict=True, ge=0)] = 8
    """Processes that decode, for each process that trains. Their number decides what the augmentation draws."""
    auto_augment: Annotated[str, Field(min_length=1)] | None = "rand-m9-mstd0.5-inc1"
    """timm's text for RandAugment and its kin (arXiv:1909.13719); None draws none."""
    color_jitter: NotNegative | None = 0.4
    """Brightness, contrast and saturation; timm leaves it out where auto_augment draws colours itself."""
    interpolation: Literal["bilinear", "bicubic", "random"] = "random"
    """In training; images that are judged are scaled bicubically."""
    erasing: Literal["const", "rand", "pixel"] = "pixel"
    """What random_erasing fills with: the mean colour, one random colour, noise."""
    test_crop: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Share of the scaled image's side that is judged, cut from its middle."""


class FullRecipe(Recipe):
    """A full training. Where nothing else is said, the images are decoded once and lie in memory, as in a proxy's training."""

    validates_raw: ClassVar[bool] = True

    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the training images held out to follow the training by; of 0 all are trained on and only the loss is seen. The
    test split is read once, after the last epoch, whatever stands here."""
    optimizer: Annotated[str, Field(min_length=1)] = "adamw"
    """timm's name of it (create_optimizer_v2)."""
    retry_lr: Literal[None] = None
    """A full training that diverges is an error."""
    cooldown_epochs: Annotated[int, Field(strict=True, ge=0)] = 0
    """The last of `epochs`, which train at the smallest rate."""
    device_batch: Count | None = None
    """Most images that one device takes at once: the gradients of several such parts are added up to those of a batch. None
    takes a device's whole share of batch_size."""
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

    def of_depth(self, num_blocks: int) -> "FullRecipe":
        """The recipe with the one drop path rate that it has for so many blocks."""
        return self.model_copy(update={"drop_path": self.drop_path_at(num_blocks)})

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
    where = f"{path} (with --set)" if settings else str(path)
    return validated(FullRecipe, with_settings(read_yaml(path, "recipe"), settings), where=where)
