"""A whole search as a value: what one YAML file says."""

import random
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from nas.config.layers import Layer, merged_layers, place_in, read_layers, rooted, with_settings
from nas.config.values import Value, broken, validated
from nas.devices.device_file import DeviceFile, check_covers
from nas.errors import ConfigError, Infeasible, unknown
from nas.recipes.as_trained import check_sizes
from nas.recipes.recipe import Proxy
from nas.recipes.seen import SeenSpace
from nas.run.settings.sections import (
    BELIEFS,
    Baselines,
    Calibration,
    Devices,
    Prior,
    Resources,
    SearchSettings,
)
from nas.shipped import yaml_path
from nas.space.architecture import Architecture
from nas.space.constraints import Constraints, check_reachable, limit_path, random_architecture
from nas.space.cost import cost as cost_of
from nas.space.costs import BY_SIZE, COUNTED, FORETOLD, ON, Cost, on_device, size_in
from nas.space.families import designed, named, short
from nas.space.mixers import positional
from nas.space.search_space import SearchSpace

RUN_FACTS = "run"  # the key under which a run's search.yaml says when and with what it began
MAP_PROBES = 50  # architectures whose maps are looked at before anything is trained


def _first_of(own: int | None, shared: int) -> int:
    return shared if own is None else own


class Search(Value):
    """A search: space, limits, objectives, baselines, budget, proxy training and machines."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    space: SearchSpace
    constraints: Constraints = Constraints()
    devices: Devices = {}  # noqa: RUF012 (frozen)
    """Device files by the names that they have here."""
    objectives: tuple[str, ...] = ("accuracy", "macs")
    """Accuracy, then one or two costs; latency_ms@NAME is the latency on a device."""
    baselines: Baselines = ()
    """Published designs by name, and families scaled to a cost: caformer@0.6G, or {families: [caformer], at: [0.3G, 0.6G]}."""
    search: SearchSettings = SearchSettings()
    prior: Prior = {}  # noqa: RUF012 (frozen)
    """What is believed before anything is trained: by axis and option high or low, {stage4.mixer: {attention: high}}. The
    sampler "front" starts and draws there, and its prediction sees it, so that trainings decide how far it is followed."""
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
