"""How to train, as a value: a proxy and a full training are two recipes. It imports without torch."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from nas.config.text import read_text
from nas.config.values import Flag, Value, broken, known_name
from nas.errors import ConfigError, shortened
from nas.recipes.by_size import BySize
from nas.recipes.signals import SIGNAL_CHOICES
from nas.space.architecture import MOST_PIXELS, MixerName
from nas.units import Quantity

SIZE_STEP = 8  # pixels between the resolutions of a training that grows them
WHERE_AND_WHEN = ("data", "rungs", "signal")  # the manifest says which data; no training depends on how it is judged
OPTIMIZERS = ("adamw", "lamb", "lion", "sgd", "muon")  # of timm's, those that suit a short training

Count = Annotated[int, Field(strict=True, ge=1)]
Epochs = Annotated[int, Field(strict=True, ge=1, le=100_000)]
Side = Annotated[int, Field(strict=True, ge=4, le=MOST_PIXELS)]
Share = Annotated[float, Field(strict=True, ge=0, lt=1)]
Area = Annotated[float, Field(strict=True, gt=0, le=1)]
NotNegative = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
AboveZero = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]

One = TypeVar("One")
Several = TypeVar("Several")
OneOrSeveral = Annotated[
    Annotated[One, Tag("(one)")] | Annotated[Several, Tag("(several)")],
    Discriminator(lambda value: "(several)" if isinstance(value, list | tuple) else "(one)"),
]
"""Either type, told apart by whether a list is given, so that a wrong value breaks the rules of one of them only."""
Schedule = Literal["warmup_then_cosine", "timm", "timm_by_epoch"]


class Distillation(Value):
    """A teacher beside the labels. The loss is `labels` times theirs plus `logits` and `imitation` times the teacher's.

    RIFormer (arXiv:2304.05659) learns both from its teacher; how much each counts is for the recipe to say.
    """

    teacher: Annotated[str, Field(min_length=1)]
    """A folder that `nas retrain` or `nas export` wrote; a design of ours or an architecture .json, with `weights`; or
    a model of timm's, such as caformer_s18.sail_in1k (timm/NAME where a design of ours has that name), with `weights` or with
    timm's own from the Hugging Face cache. Nothing is downloaded."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """A file of the teacher's weights: safetensors for ours, anything that timm reads for timm's."""
    digest: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = Field(default=None, exclude_if=lambda value: value is None)
    """What the teacher is known by, wherever it lies; another one is an error. A search writes it down as it begins and goes on
    with no other; a calibration and a full training know their teacher by its path."""
    labels: NotNegative = 1.0
    logits: NotNegative = 1.0
    """Weight of the teacher's predictions; it must have as many classes as the training, or know them among its own by name or
    WordNet's id, as an ImageNet teacher knows those of any part of ImageNet."""
    targets: Literal["soft", "hard"] = "soft"
    """Its probabilities (arXiv:1503.02531), or the class that it finds the likeliest (arXiv:2012.12877)."""
    temperature: AboveZero = 1.0
    """Softens both predictions before soft targets are compared; hard targets have none."""
    imitation: NotNegative = 0.0
    """Weight of the mean squared error between the token-mixer outputs of student and teacher, a mean over the blocks; the
    teacher must be a MetaFormer of the student's depths and widths."""

    @model_validator(mode="after")
    def _asks_the_teacher(self) -> "Distillation":
        if not (self.logits or self.imitation):
            raise broken(
                "logits", "must be above 0, or imitation must, but got 0 for both; drop distillation to have no teacher"
            )
        return self


def _listed(classes: Any) -> Any:
    """The names in a file, one at the start of each line, where a path is given: the run then holds them itself. What follows
    a tab is left out."""
    if isinstance(classes, list | tuple):
        return [_name(value) for value in classes]
    if not isinstance(classes, str):
        return classes
    try:
        lines = read_text(Path(classes)).splitlines()
    except ConfigError as error:
        raise broken("", f"must be a number, names, or a text file of names: {error}") from None
    return [line.partition("\t")[0].strip() for line in lines if line.strip() and line[0] != "#"]


def _name(value: Any) -> Any:
    """A class's name where YAML sees a number; ValueError where how it was written is lost."""
    if isinstance(value, bool | float) or value is None:
        raise ValueError(
            f"a name that YAML takes for something else must stand in quotes, but got {shortened(repr(value))} without them"
        )
    return str(value) if isinstance(value, int) else value


class Recipe(Value):
    """One training: data, schedule, regularisation, arithmetic. The defaults suit the embedded digits at 32 px.

    The seed is no part of it: runs of one recipe with several seeds are replicates.
    """

    validates_raw: ClassVar[bool] = False
    """Whether, beside an average of the weights, the weights as they are are validated too: a proxy has no time for it."""

    data: Annotated[str, Field(min_length=1)] = "digits"
    """ "digits" (embedded in scikit-learn), a directory of class folders or a tar of one, or timm's name of a data set:
    torch/…, hfds/…, wds/…."""
    classes: Annotated[
        OneOrSeveral[Annotated[int, Field(strict=True, ge=2)] | None, Annotated[tuple[str, ...], Field(min_length=2)]],
        BeforeValidator(_listed),
    ] = None
    """How many classes, spread evenly over the sorted names; or their names, as a list or as a text file with one at the start
    of each line; None takes all. No seed changes which."""
    images_per_class: Annotated[int, Field(strict=True, ge=2)] | None = None
    """Images of each class drawn for search-training and search-validation together; None takes all."""
    validation_share: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.2
    """Share of the drawn training images that is never trained on during a search."""
    unreadable_share: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.01
    """Data is refused when a larger share of the images that were tried can't be decoded."""
    keep_copies: Flag = False
    """Whether files with equal contents may stand in several of the splits for training, validation and test."""
    white: Count | None = None
    """The value that is white in the images; None for the largest that their bits can hold, 255 or 65,535."""
    max_pixels: Annotated[Quantity, Field(ge=1)] = 178_956_970
    """Images with more pixels are taken for unreadable. The default is where Pillow stops: half a gigabyte decoded."""
    image_size: OneOrSeveral[Side, tuple[Side, Side]] = 32
    """Side in pixels; of two, the first epoch trains at the first, the last one and every validation at the second."""

    epochs: Epochs = 6
    batch_size: Annotated[int, Field(strict=True, ge=2)] = 64
    """Largest batch; an epoch is cut into batches of nearly equal size, so that no image is left out."""
    optimizer: Annotated[str, known_name("optimizer", OPTIMIZERS)] = "adamw"
    """timm's name of it (create_optimizer_v2)."""
    lr: AboveZero = 1e-3
    mixer_lr: dict[MixerName, AboveZero] = {}  # noqa: RUF012 (frozen)
    """Factors on lr for all weights of the blocks with that token mixer, such as {attention: 0.5}."""
    retry_lr: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = 0.3
    """A training that diverges is begun again once with lr times this, and the record says so; None begins none again."""
    weight_decay: NotNegative = 0.05
    """For weights of at least two dimensions: biases, norms and scales are left out."""
    warmup_epochs: NotNegative = 1.0
    """Epochs, or part of one, in which the learning rate rises in a line from zero."""
    min_lr: Share = 0.01
    """Learning rate at the end of the cosine, as a share of lr."""
    clip_grad: AboveZero | None = 1.0
    """Largest norm of the gradient; None doesn't clip."""
    label_smoothing: Share = 0.1
    drop_path: BySize[Share] = 0.0
    """Of the last block, falling linearly to 0 at the first. In a full recipe it can go by size, {s18: 0.2, s36: 0.3}."""
    head_dropout: BySize[Share] = 0.0
    """Before the last linear map. In a full recipe it can go by size as well."""
    ema: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = None
    """Decay of an average of the weights, which is then what is validated and kept; None keeps the last weights."""

    crop_padding: Annotated[int, Field(strict=True, ge=0)] = 2
    """Largest random shift in pixels; what comes in from outside is black."""
    crop_scale: tuple[Area, Area] | None = None
    """Shares of the image's area between which a random crop is drawn, of a shape between 3:4 and 4:3, and brought back to the
    image's size (arXiv:1409.4842); [0.35, 1] suits short trainings. None crops by crop_padding alone."""
    flip: Flag = False
    """Mirror half of the images; right for photos, wrong for digits and text."""
    mixup: NotNegative = 0.0
    """Alpha of mixup's beta distribution (arXiv:1710.09412); 0 switches it off."""
    cutmix: NotNegative = 0.0
    """Alpha of CutMix's beta distribution (arXiv:1905.04899); with mixup as well, each batch has one of them, evenly."""
    random_erasing: Annotated[float, Field(strict=True, ge=0, le=1)] = 0.0
    """Probability that a rectangle of an image is blanked (arXiv:1708.04896)."""

    distillation: Distillation | None = None
    """A teacher; None learns from the labels alone."""

    precision: Literal["auto", "bf16", "fp16", "float32"] = "auto"
    """"auto" takes bf16 where the device computes in it, float32 elsewhere; fp16 scales the loss."""
    channels_last: Flag = True
    compile: Flag = False
    """torch.compile: a minute and more before the first step, and no gain measured on a CPU (experiments/proxy)."""
    stem_stride: Count | None = None
    """Trains with another stride of the stem, so that a small image still gives a large token grid; None keeps it."""
    layer_scale: NotNegative | None = None
    """Trains with this initial value of LayerScale in every block, 0 without LayerScale; None keeps the architecture's own."""

    @property
    def annealed_epochs(self) -> int:
        """Epochs at whose end the learning rate has come down: all of them."""
        return self.epochs

    @property
    def course(self) -> Schedule:
        """How the learning rate goes."""
        return "warmup_then_cosine"

    @property
    def first_lr(self) -> float:
        """Learning rate at the start of the warm-up, as a share of lr."""
        return 0.0

    @property
    def ema_rises(self) -> bool:
        """Whether the average's decay rises to `ema` during the training."""
        return True

    @property
    def part_size(self) -> int | None:
        """Most images whose gradients a device computes at once; None takes its whole share of a batch."""
        return None

    @property
    def full_size(self) -> int:
        """Side of the images as they are cached and judged."""
        return self.image_size if isinstance(self.image_size, int) else self.image_size[1]

    def size_at(self, epoch: int) -> int:
        """Side at which an epoch, counted from 1, trains: in steps of 8 px from the first size to the second."""
        if isinstance(self.image_size, int) or epoch >= self.epochs:
            return self.full_size
        small, large = self.image_size
        grown = (large - small) * (epoch - 1) / (self.epochs - 1)
        return small + round(grown / SIZE_STEP) * SIZE_STEP

    @property
    def num_classes(self) -> int | None:
        """How many classes are chosen; None where the data decides."""
        return len(self.classes) if isinstance(self.classes, tuple) else self.classes

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "Recipe":
        if self.warmup_epochs >= self.epochs:
            rule = f"must be below epochs={self.epochs}, but got {self.warmup_epochs}; shorten the warm-up, such as to "
            rule += f"{self.epochs / 4:g}, or train longer"
            raise broken("warmup_epochs", rule)
        if self.crop_padding >= self.full_size:
            rule = f"must be below image_size={self.full_size}, but got {self.crop_padding}; an eighth of it is usual"
            raise broken("crop_padding", rule)
        for name in ("crop_scale", "image_size"):
            pair = getattr(self, name)
            if isinstance(pair, tuple) and pair[0] > pair[1]:
                raise broken(name, f"must rise from the first to the second, but got {list(pair)}; swap them")
        if isinstance(self.classes, tuple) and len(set(self.classes)) < len(self.classes):
            raise broken("classes", f"must be different names, but {_twice(self.classes)!r} stands twice; remove one")
        if self.compile and self.distillation and self.distillation.imitation:
            raise broken("compile", "must be false while distillation.imitation looks into the network, but got true")
        return self


def _twice(names: tuple[str, ...]) -> str:
    return next(name for i, name in enumerate(names) if name in names[:i])


class Proxy(Recipe):
    """A short training that stands for a long one, and the epochs after which a trial may be stopped."""

    drop_path: Share = 0.0
    head_dropout: Share = 0.0
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """"auto" takes bf16 where the device computes in it, float32 elsewhere."""
    rungs: tuple[Count, ...] = ()
    signal: Annotated[str, known_name("signal", SIGNAL_CHOICES)] = "auto"
    """By what it is foretold how good a network would be under other seeds: "losses" beside its accuracy, or "accuracy" alone.
    "auto" takes what ranks better in the run's calibration of this very recipe, and both where there is none."""

    @model_validator(mode="after")
    def _rungs_rise(self) -> "Proxy":
        rises = all(a < b for a, b in zip(self.rungs, self.rungs[1:], strict=False))
        if not rises or (self.rungs and self.rungs[-1] >= self.epochs):
            rule = f"must rise strictly and stay below epochs={self.epochs}, but got {list(self.rungs)}"
            raise broken("rungs", f"{rule}; a rung is an epoch after which a trial may be stopped")
        return self


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides how a training goes, as plain data that can be compared."""
    return recipe.model_dump(mode="json", exclude=set(WHERE_AND_WHEN))
