"""A whole search as a value: what one YAML file says."""

import random
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from nas.config import (
    Flag,
    Layer,
    Value,
    broken,
    known_name,
    merged_layers,
    place_in,
    read_layers,
    rooted,
    validated,
    with_settings,
)
from nas.devices.device_file import DeviceFile, check_covers, read_device_file
from nas.errors import ConfigError, Infeasible, shortened, unknown
from nas.files import at_home
from nas.recipes.as_trained import check_sizes
from nas.recipes.recipe import Proxy
from nas.recipes.seen import SeenSpace
from nas.shipped import yaml_path
from nas.space.architecture import Architecture
from nas.space.constraints import Constraints, check_reachable, limit_path, random_architecture
from nas.space.cost import cost as cost_of
from nas.space.costs import BY_SIZE, COUNTED, FORETOLD, ON, Cost, device_in, on_device, size_in
from nas.space.families import Scaled, designed, named, short
from nas.space.mixers import positional
from nas.space.reference import FAMILIES, timm_names
from nas.space.search_space import SearchSpace
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
RUN_FACTS = "run"  # the key under which a run's search.yaml says when and with what it began
MAP_PROBES = 50  # architectures whose maps are looked at before anything is trained
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


def _first_of(own: int | None, shared: int) -> int:
    return shared if own is None else own


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


class Search(Value):
    """A search: space, limits, objectives, baselines, budget, proxy training and machines."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    space: SearchSpace
    constraints: Constraints = Constraints()
    devices: Annotated[dict[DeviceName, DeviceFile], BeforeValidator(_read_devices)] = {}  # noqa: RUF012 (frozen)
    """Device files by the names that they have here."""
    objectives: tuple[str, ...] = ("accuracy", "macs")
    """Accuracy, then one or two costs; latency_ms@NAME is the latency on a device."""
    baselines: Annotated[tuple[str, ...], BeforeValidator(_baseline_names)] = ()
    """Published designs by name, and families scaled to a cost: caformer@0.6G, or {families: [caformer], at: [0.3G, 0.6G]}."""
    search: SearchSettings = SearchSettings()
    prior: Prior = {}  # noqa: RUF012 (frozen)
    """What is believed before anything is trained: by axis and option high or low, {stage4.mixer: {attention: high}}. The
    sampler "front" starts and draws there, and heeds it the less the more is known."""
    proxy: Proxy = Proxy()
    resources: Resources = Resources()
    calibration: Calibration = Calibration()

    @property
    def trials(self) -> int:
        """Architectures to train besides the baselines."""
        return self.search.trials

    @property
    def proposal_seed(self) -> int:
        """Of all that a sampler draws."""
        return _first_of(self.search.proposal_seed, self.search.seed)

    @property
    def split_seed(self) -> int:
        """Of which images are trained on and judged by."""
        return _first_of(self.search.split_seed, self.search.seed)

    @property
    def training_seed(self) -> int:
        """Of every training's weights and batches."""
        return _first_of(self.search.training_seed, self.search.seed)

    @property
    def sampler(self) -> str:
        """Who proposes architectures."""
        return self.search.sampler

    @property
    def replicates(self) -> int:
        """Trainings with other seeds at the end, of each network on or near the front."""
        return self.search.replicates

    @property
    def storage(self) -> str | None:
        """Where the record is kept; None for study.db in the run's folder."""
        return self.search.storage

    @property
    def log(self) -> tuple[str, ...]:
        """Where learning curves are shown live besides."""
        return self.search.log

    @property
    def start(self) -> tuple[str, ...]:
        """Designs to begin near, as they were named."""
        return self.search.start

    @property
    def start_designs(self) -> tuple[str, ...]:
        """Designs to begin near, one by one."""
        return self.search.start_designs

    def counted_elsewhere(self, num_classes: int) -> str | None:
        """What to say where costs are not those of the networks as the proxy trains them, on so many classes."""
        space, size = self.space, self.proxy.full_size
        if (space.image_size, space.num_classes) == (size, num_classes):
            return None
        return (
            f"MACs and params are counted at {space.image_size} px and {space.num_classes:,} classes (space.image_size, "
            f"space.num_classes); the proxy trains at {size} px and {num_classes:,} classes"
        )

    @model_validator(mode="after")
    def _consistent(self) -> "Search":
        if self.search.max_gpu_hours is not None and not self.resources.gpu:
            rule = f"needs trials on a GPU, but got {self.search.max_gpu_hours:g} with resources.gpu=0"
            raise broken("search.max_gpu_hours", f"{rule}; use max_hours, or set resources.gpu")
        if self.search.learn_from and self.search.sampler != "front":
            rule = f"needs the sampler front, which alone learns from other runs, but got {self.search.sampler}"
            raise broken("search.learn_from", f"{rule}; set search.sampler=front, or leave it out")
        if self.prior:
            _ = self.beliefs
        costs = self.objectives[1:]
        for name in self.objectives:
            if name not in (objectives := ("accuracy", *COUNTED, *self.foretold)) and size_in(name) is None:
                if name.partition(ON)[0] in BY_SIZE:
                    rule = f"must name a size of 1 to 99,999 px behind the {ON}, as in {name.partition(ON)[0]}@512"
                    raise broken("objectives", f"{rule}, but got {name!r}; mend it")
                raise broken("objectives", unknown("objective", name, objectives) + self._way_to_devices(name))
        self._check_sizes()
        for name in self.constraints.latency_ms:
            if name not in self.devices:
                raise broken(
                    f"constraints.latency_ms.{name}", unknown("device", name, self.devices) + self._way_to_devices("latency_ms")
                )
        for name, file in self.devices.items():
            check_covers(file, self.space, where=f"devices.{name}")
        if self.objectives[:1] != ("accuracy",) or len(costs) not in (1, 2) or len({"accuracy", *costs}) <= len(costs):
            raise broken("objectives", f"must be accuracy, then one or two different costs, but got {list(self.objectives)}")
        if self.proxy.size_at(1) != self.proxy.full_size and self.space.needs_fixed_resolution:
            sizes = [self.proxy.size_at(1), self.proxy.full_size]
            rule = f"must be one size where stages may mix by {' or '.join(positional())}, but got {sizes}"
            raise broken("proxy.image_size", f"{rule}; give one size, or take these mixers and position_embedding out")
        lists = (
            ("baselines", self.baselines),
            ("search.start", self.search.start_designs),
            ("calibration.designs", self.calibration.designs or ()),
        )
        for path, names in lists:
            for name in names:
                self._check_design(name, path)
        _check_different(self.baselines, {name: self.design(name) for name in self.baselines})
        return self

    def _check_sizes(self) -> None:
        """An error where a cost is to be counted at an image size that some network of the space can't take."""
        for name, size in self.sizes.items():
            path = "objectives" if name in self.objectives else f"constraints.{limit_path(name)}.at"
            if self.space.needs_fixed_resolution and size != self.space.image_size:
                rule = (
                    f"can't be {size} px where stages may mix by {' or '.join(positional())} or embed positions: they fit one"
                )
                raise broken(path, f"{rule}; take these out of space.stages, or count at {self.space.image_size} px")
            self.space.check_resolution(size, path)
            self.space.count_plugins(size, note=True)

    def _check_design(self, name: str, path: str) -> None:
        try:
            self.design(name)
        except (ConfigError, Infeasible) as error:
            raise broken(path, str(error).rstrip(".")) from None
        member = named(name)
        limit = self.constraints.limits.get(member.by) if member is not None else None
        if member is not None and limit is not None and (excess := limit.excess(member.at)):
            limits = limit.model_dump(exclude_none=True)
            allowed = " and ".join(f"{side} {short(value)}" for side, value in limits.items())
            rule = f"must lie within constraints.{member.by} ({allowed}), but {name} is {excess:.0%} outside"
            raise broken(path, f"{rule}; ask for a cost inside, or change the limit")

    def _way_to_devices(self, name: str) -> str:
        """What to do where a device's cost was asked for that no device file foretells."""
        if not name.startswith(FORETOLD):
            return ""
        return " Name a device file under devices: {NAME: PATH}; `nas devices measure --help` says how to make one."

    @cached_property
    def beliefs(self) -> dict[str, dict[Any, float]]:
        """By axis and option how many times as likely the option is believed to be good; an error where there is none such."""
        if self.prior and self.search.sampler != "front":
            rule = f"needs the sampler front, which alone heeds it, but got {self.search.sampler}"
            raise broken("prior", f"{rule}; set search.sampler=front, or leave it out")
        beliefs: dict[str, dict[Any, float]] = {}
        for axis, levels in self.prior.items():
            if axis not in self.space.axes:
                raise broken(f"prior.{axis}", unknown("axis", axis, self.space.axes) + " An axis is a choice of the space.")
            for text, level in levels.items():
                option = [option for option in self.space.axes[axis] if _is_written(option, text)]
                if not option:
                    raise broken(f"prior.{axis}.{text}", unknown(f"value of {axis}", text, self.space.axes[axis]))
                beliefs.setdefault(axis, {})[option[0]] = BELIEFS[level]
        return beliefs

    @property
    def foretold(self) -> dict[str, DeviceFile]:
        """By the name of each cost that a device file foretells, that file."""
        return {on_device(cost, name): file for cost in FORETOLD for name, file in self.devices.items()}

    @cached_property
    def sizes(self) -> dict[str, int]:
        """By the name of each cost that is counted at another image size, that size."""
        sizes = {name: size_in(name) for name in (*self.objectives, *self.constraints.limits)}
        return {name: size for name, size in sizes.items() if size is not None}

    def cost_at(self, name: str, architecture: Architecture) -> int:
        """A cost such as macs@512 of an architecture, for this space's number of classes."""
        size = size_in(name)
        assert size is not None, "it is called so"
        return getattr(cost_of(architecture, image_size=size, num_classes=self.space.num_classes), name.partition(ON)[0])

    def cost(self, architecture: Architecture) -> Cost:
        """What an architecture costs: counted as the space counts it, and at other sizes, and foretold on each device."""
        counted = self.space.cost(architecture)
        if self.sizes:
            counted = counted._replace(resized=tuple((name, self.cost_at(name, architecture)) for name in self.sizes))
        if not self.devices:
            return counted
        return counted._replace(estimates=tuple(file.estimate(architecture, name=name) for name, file in self.foretold.items()))

    @property
    def seen(self) -> SeenSpace:
        """The space as the proxy trains it."""
        return SeenSpace(self.space, self.proxy)

    def design(self, name: str) -> Architecture:
        """The published design of that name, or a family's member scaled to a cost as this space counts it; ConfigError."""
        if name not in self._designs:
            self._designs[name] = designed(name, self.cost, stem_strides=self.space.stem_strides)
        return self._designs[name]

    @cached_property
    def _designs(self) -> dict[str, Architecture]:
        return {}


def _is_written(option: Any, text: str) -> bool:
    """Whether a text is an option, as YAML or JSON write it."""
    if type(option) in (int, float) and re.fullmatch(r"-?\d+(\.\d*)?", text):
        return float(text) == option
    return str(option).lower() == text.lower()


def _check_different(names: Sequence[str], architectures: dict[str, Architecture]) -> None:
    by_key: dict[str, str] = {}
    for name in names:
        twin = by_key.setdefault(architectures[name].key, name)
        if names.count(name) > 1 or twin != name:
            raise broken("baselines", f"must be different designs, but {name} and {twin} are one; remove one")


def check_possible(search: Search) -> None:
    """NasError unless some architecture meets the constraints, and the proxy's images suit the baselines and those drawn."""
    check_reachable(search.space, search.constraints, cost_of=search.cost)
    for size in {search.proxy.size_at(1), search.proxy.full_size}:
        _check_plugins(search.space, size)
    rng = random.Random(search.proposal_seed)
    drawn = [random_architecture(search.space, rng) for _ in range(MAP_PROBES)]
    baselines = {name: search.design(name) for name in search.baselines}
    check_sizes(search.proxy, {**baselines, **{a.describe(): a for a in drawn}}, where="proxy")


def _check_plugins(space: SearchSpace, image_size: int) -> None:
    """ConfigError where a plugin's mixer fails on the maps that the proxy's images make."""
    try:
        space.count_plugins(image_size)
    except PydanticCustomError as error:
        rule = (error.context or {})["rule"]
        raise ConfigError(f"proxy.image_size: at {image_size} px {rule}.") from None


def read_search(name: str | Path, *, settings: Sequence[str] = ()) -> Search:
    """The search in a YAML file, or in a shipped one of that name, with each "a.b=value" of `settings` laid over it."""
    path = yaml_path(name, "search space")
    return _search_of(read_layers(path, "search space"), settings)


def search_in(written: dict[str, Any], *, settings: Sequence[str] = ()) -> Search:
    """The search that a mapping describes, as a YAML file holds it; what it extends is a shipped space's name or a path."""
    data = rooted(written, Path())
    parent = data.pop("extends", None)
    below = [] if parent is None else read_layers(yaml_path(parent, "search space", where="extends"), "search space")
    return _search_of([(Path("the mapping"), data), *below], settings)


def _search_of(layers: list[Layer], settings: Sequence[str]) -> Search:
    written = {key: value for key, value in merged_layers(layers).items() if key != RUN_FACTS}
    return validated(Search, with_settings(written, settings), where=place_in(layers, settings))
