"""The sections of a search's YAML file, each as a value; the space, its limits and the proxy have files of their own."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from nas.config.values import Flag, Value, broken, known_name
from nas.devices.device_file import DeviceFile, read_device_file
from nas.errors import ConfigError, shortened, unknown
from nas.files import at_home
from nas.space.costs import COUNTED, device_in
from nas.space.families import Scaled
from nas.space.reference import FAMILIES, timm_names
from nas.units import Quantity

SAMPLERS = {
    "front": "nas.search.samplers.front:make_front",
    "tpe": "nas.search.samplers.registry:make_tpe",
    "evolution": "nas.search.samplers.evolution:make_evolution",
    "nsga2": "nas.search.samplers.registry:make_nsga2",
    "random": "nas.search.samplers.registry:make_random",
}
"""Where each is made, as module:function (see `nas.search.samplers.registry`), which reading a search does not import."""


def _scaling_cost(name: Any) -> Any:
    """The check of a cost that families are scaled to: a counted one, or a device's."""
    if not isinstance(name, str) or (name not in COUNTED and device_in(name) is None):
        raise broken("", unknown("cost", name, COUNTED))
    return name


CostName = Annotated[str, BeforeValidator(_scaling_cost)]
FamilyName = Annotated[str, known_name("family", FAMILIES)]


def _device_name(name: Any) -> Any:
    """The check of a device's name, which is part of a cost's name, of a dotted path and of a file's name."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", name):
        rule = f"must be a name of letters, digits, _ and -, at most 40, but got {shortened(str(name))!r}; call it otherwise"
        raise broken("", rule)
    return name


DeviceName = Annotated[str, BeforeValidator(_device_name)]
SamplerName = Annotated[str, known_name("sampler", SAMPLERS)]
MOST_AT_ONCE = 100_000  # trainings, cores or cards: more than any cluster has
REFERENCES = "references"  # stands for all sizes of these families
REFERENCE_FAMILIES = ("poolformerv2", "convformer", "caformer")


def _read_devices(written: Any) -> Any:
    """The content of each device file where its path is written."""
    if not isinstance(written, dict):
        return written
    return {name: _read_device(name, file) if isinstance(file, str) else file for name, file in written.items()}


def _read_device(name: Any, path: str) -> DeviceFile:
    try:
        return read_device_file(Path(at_home(path)))
    except ConfigError as error:
        raise ConfigError(f"devices.{shortened(str(name))}: {error}") from None


Devices = Annotated[dict[DeviceName, DeviceFile], BeforeValidator(_read_devices)]


def _listed(names: Any) -> Any:
    """A list of one where a person writes a bare name."""
    return (names,) if isinstance(names, str) else names


def _alone(amounts: Any) -> Any:
    """A list of one where a person writes a bare amount."""
    return (amounts,) if isinstance(amounts, str | int | float) else amounts


class Families(Value):
    """Published families, each scaled to the same costs."""

    families: Annotated[tuple[FamilyName, ...], BeforeValidator(_listed), Field(min_length=1)]
    at: Annotated[tuple[Quantity, ...], BeforeValidator(_alone), Field(min_length=1)]
    by: CostName = "macs"

    @property
    def names(self) -> list[str]:
        """The members, family by family."""
        return [Scaled(family, at, self.by).name for family in self.families for at in self.at]


def _baseline_names(written: Any) -> Any:
    """A list of names where a person writes one, {families, at, by}, or a list of both."""
    names: list[Any] = []
    for entry in written if isinstance(written, list | tuple) else [written]:
        names += Families.model_validate(entry).names if isinstance(entry, dict) else [entry]
    return names


Baselines = Annotated[tuple[str, ...], BeforeValidator(_baseline_names)]
BELIEFS = {"high": 4.0, "low": 0.25}
"""What may be believed of an option, and how many times as likely as one without a word it then is to be good."""


def _by_axis(written: Any) -> Any:
    """Beliefs by axis and option, however deeply they were written: --set prior.stage4.mixer.attention=high as well."""
    if not isinstance(written, dict):
        return written
    axes: dict[str, Any] = {}
    for name, below in written.items():
        if isinstance(below, dict) and any(isinstance(value, dict) for value in below.values()):
            axes |= {f"{name}.{inner}": value for inner, value in _by_axis(below).items()}
        else:
            axes[str(name)] = {str(o): level for o, level in below.items()} if isinstance(below, dict) else below
    return axes


Prior = Annotated[dict[str, dict[str, Annotated[str, known_name("belief", BELIEFS)]]], BeforeValidator(_by_axis)]
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]


def _as_share(written: Any) -> Any:
    """A share where a person writes per cent."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*%\s*", written) if isinstance(written, str) else None
    if isinstance(written, str) and match is None:
        raise broken("", f"must be a share, such as 0.5% or 0.005, but got {shortened(written)!r}; write one of these")
    return float(match[1]) / 100 if match else written


class StopRule(Value):
    """When a search has become flat."""

    gain: Annotated[float, BeforeValidator(_as_share), Field(strict=True, gt=0, lt=1)] = 0.005
    """Share of the hypervolume, counted within the front's own range, that trainings must be worth."""
    within: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 20
    """So many trainings, the last ones together with the next ones as foretold."""


class SearchSettings(Value):
    """How many architectures are trained, and who proposes them."""

    trials: Annotated[int, Field(strict=True, ge=1)] = 40
    """Architectures to train besides the baselines; one stopped early counts, one answered from the record does not."""
    sampler: SamplerName = "front"
    start: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Reference designs whose nearest affordable architectures in the space are trained first; "references" stands for all of
    PoolFormerV2, ConvFormer and CAFormer. Two that come out equal count once."""
    learn_from: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed)] = ()
    """Folders of other runs, of the same or of another task, and of retrained networks, from which the sampler "front" learns
    where to look; how far each is to be trusted it learns as well. What they hold is copied when they are first named."""
    seed: Seed = 0
    """Seeds the proposals, the split of the data and every training, as far as these have no seed of their own."""
    proposal_seed: Seed | None = None
    split_seed: Seed | None = None
    """Runs with equal ones are judged by the same images, and can be compared."""
    training_seed: Seed | None = None
    replicates: Annotated[int, Field(strict=True, ge=0, le=1_000)] = 0
    """Trainings with other seeds that each network on or near the front gets when the search is through, and each baseline;
    `nas replicate` gives them later."""
    log: Annotated[tuple[Literal["tensorboard", "mlflow", "wandb"], ...], BeforeValidator(_listed)] = ()
    """Where learning curves are shown live besides: tensorboard (files in the run's folder), mlflow (the server that
    $MLFLOW_TRACKING_URI names, else mlflow.db in the run's folder) and wandb (Weights & Biases, under the search's name; with
    WANDB_MODE=offline files in the run's folder, which `wandb sync` sends later)."""
    cache: Flag = True
    """Whether a training that another run did with the same recipe, images, seed and versions is answered from its result, and
    this run's are kept for others: in $NAS_RESULTS, else results/ in $NAS_CACHE."""
    storage: str | None = None
    """An Optuna storage URL (postgresql://…, mysql://…) or a journal file (journal:///shared/run.journal); without one the
    record is study.db in the run's folder."""
    max_hours: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    """No architecture is begun after a search has been driven for so long, its interruptions left out; those that run then are
    trained to their end."""
    max_gpu_hours: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    """The same for the hours that trials held a GPU or their share of one, failures and repetitions included."""
    stop: StopRule | None = None
    """Ends the search before its budget once it is flat; None never does."""

    @property
    def start_designs(self) -> tuple[str, ...]:
        """The names of `start`, with those that "references" stands for in its place."""
        references = [n for n in timm_names() if n.startswith(REFERENCE_FAMILIES)]
        return tuple(dict.fromkeys(n for name in self.start for n in (references if name == REFERENCES else [name])))


class Resources(Value):
    """Where trials run and what each of them gets."""

    address: str | None = None
    """A running Ray cluster ("auto" or host:port); without one a local Ray is started."""
    workers: Annotated[int, Field(strict=True, ge=1, le=MOST_AT_ONCE)] | None = None
    """Trials at once; without a number as many as the cores or the shares of GPUs allow."""
    cpu: Annotated[float, Field(strict=True, gt=0, le=MOST_AT_ONCE, allow_inf_nan=False)] = 1
    gpu: Annotated[float, Field(strict=True, ge=0, le=MOST_AT_ONCE, allow_inf_nan=False)] = 0
    """GPUs a trial, such as 0.25 for four trials a card; 0 trains on the CPU."""

    @field_validator("address")
    @classmethod
    def _names_a_cluster(cls, address: str | None) -> str | None:
        if address is not None and not address.strip():
            raise broken("", "must be auto or HOST:PORT of a cluster's head, but it is empty; leave it out to start Ray here")
        return address

    @model_validator(mode="after")
    def _whole_cards(self) -> "Resources":
        if self.gpu > 1 and not self.gpu.is_integer():
            raise broken("gpu", f"must be a part of one GPU or a whole number of them, but got {self.gpu:g}")
        return self


class Calibration(Value):
    """What `nas calibrate` trains to say how far the proxy's ranking can be trusted; a search does not read it."""

    designs: tuple[str, ...] | None = None
    """Reference designs; None takes the search's baselines, or each family scaled to the middle of what the space affords."""
    random: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 12
    """Random affordable architectures of the space, spread evenly over the logarithm of their MACs."""
    shrink: Annotated[float, Field(strict=True, ge=1, allow_inf_nan=False)] = 1
    """Divides the depths and widths of all of them, so that a small machine can train them; 1 leaves them as they are."""
    seeds: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 2
    """Trainings of each architecture at each fidelity; the seeds count up from the search's own."""
    fidelities: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")], dict[str, Any]] = {}  # noqa: RUF012 (frozen)
    """For each name what it changes in `proxy`; none stands for quarter, half, proxy, long (4 times the epochs) and large (1.5
    times the image size). A warm-up that no longer fits shrinks with the epochs; rungs are dropped."""
    against: str | None = None
    """What counts as the truth: a fidelity (None takes the costliest), "published" for the papers' ImageNet top-1, or a .csv
    file with the columns name and accuracy."""
    wanted_tau: Annotated[float, Field(strict=True, ge=-1, le=1)] = 0.7
