"""The `space:` section of a search: which architectures exist, drawn one choice at a time."""

import re
from collections.abc import Callable, Iterator
from functools import cached_property, lru_cache
from math import prod
from typing import Annotated, Any

from pydantic import Field, ValidationError, field_validator, model_validator

from nas.config.values import broken
from nas.errors import ConfigError, Infeasible, few
from nas.space.architecture import (
    MOST_PIXELS,
    Architecture,
    Stage,
    is_active,
    is_active_in_network,
    settings_of_stages,
)
from nas.space.choices import NETWORK_FIELDS, STAGE_FIELDS, NetworkChoices, StageChoices, choices_set
from nas.space.cost import cost, feature_sides
from nas.space.costs import Cost
from nas.space.geometry import map_sides
from nas.space.mixers import MIXERS, OPTIONS, VERSIONS, Mixer
from nas.space.plugins.named import plugin_of
from nas.space.plugins.plugin import Plugin, counts_of

Choose = Callable[[str, tuple], Any]
MOST_COMBINATIONS = 100_000  # of a stage's choices that belong together: all of them are looked at
MOST_COUNTED = 1_000  # of a plugin's mixer in a stage: each is built and run once
DEEPEST = 1_000  # of a stage
MOST_STAGES = 20_000  # that need not be checked twice
SWITCHES = ("mixer", "norm", "residual", "mlp_ratio", "stem_steps")  # the fields that decide whether others are active


class SearchSpace(NetworkChoices):
    """All architectures that a search may propose, and the resolution and number of classes at which they are counted.

    `stages` maps 1, 2, ... to each stage's choices; `all_stages` holds those that every stage shares unless it says otherwise.
    """

    image_size: Annotated[int, Field(strict=True, ge=8, le=MOST_PIXELS)] = 224
    num_classes: Annotated[int, Field(strict=True, ge=2)] = 1000
    plugins: tuple[Plugin, ...] = ()
    """Python files, or installed entry points, with mixers of one's own; they are run."""
    all_stages: StageChoices = StageChoices()
    stages: Annotated[dict[int, StageChoices], Field(min_length=1)]

    @model_validator(mode="before")
    @classmethod
    def _plugins_first(cls, data: Any) -> Any:
        """Plugins are read before the choices that name their mixers."""
        written = data.get("plugins") if isinstance(data, dict) else None
        if written is None:
            return data
        try:
            plugins = tuple(plugin_of(entry) for entry in (written if isinstance(written, list | tuple) else [written]))
        except ConfigError as error:
            raise broken("plugins", str(error).rstrip(".")) from None
        _check_names(plugins)
        return {**data, "plugins": plugins}

    @field_validator("stages", mode="before")
    @classmethod
    def _numbers(cls, stages: Any) -> Any:
        for key in stages if isinstance(stages, dict) else ():
            if isinstance(key, bool | float) or not re.fullmatch(r"[1-9]\d*", str(key)):
                raise broken("", f"must be numbered 1, 2, ..., but got the key {key!r}; write 1 for the first stage")
        return stages

    @model_validator(mode="after")
    def _every_choice_can_be_built(self) -> "SearchSpace":
        if sorted(self.stages) != list(range(1, len(self.stages) + 1)):
            raise broken(
                "stages", f"must be numbered 1, 2, ... without a gap, but got {', '.join(map(str, sorted(self.stages)))}"
            )
        for number, axes in self._stage_axes.items():
            for name in ("mixer", "depth", "width"):
                if name not in axes:
                    raise broken(
                        f"stages.{number}.{name}", "is required here or in all_stages; add a value or a list of choices"
                    )
            self._check_stage(number, axes)
        self.check_resolution(self.image_size, "image_size")
        if self.plugins:
            self.count_plugins(self.image_size, note=True)
        return self

    def row(self, mixer: str) -> Mixer:
        """The row of a mixer, in this space's own version."""
        return next((VERSIONS[mixer, plugin.digest] for plugin in self.plugins if mixer in plugin.mixers), MIXERS[mixer])

    def _code_of(self, mixer: str) -> dict[str, str]:
        """What a stage is given besides its choices where its mixer is a plugin's."""
        digest = self.row(mixer).plugin
        return {} if digest is None else {"plugin": digest}

    def count_plugins(self, image_size: int, *, note: bool = False) -> None:
        """Builds and runs what may stand of plugins' mixers in images of that size, each once; an error where that fails.

        What that costs is noted with the plugins if asked for, so that who reads the space need not run them.
        """
        for plugin, name, number, axes in self._plugin_choices():
            sides = self._sides(number, image_size)
            if (several := len(sides) * prod(map(len, axes.values()))) > MOST_COUNTED:
                rule = f"must make at most {MOST_COUNTED:,} combinations with {name}'s {', '.join(axes)}, but makes {several:,}"
                raise broken(f"stages.{number}.width", f"{rule}; give fewer choices, or a range with a larger step")
            for chosen in _product(list(axes.items())):
                stage = Stage(**{"depth": 1, "mixer": name, **self._code_of(name), **chosen})
                try:
                    for side in sides:
                        counts_of(plugin, name, stage, side**2, note=note)
                except ConfigError as error:
                    raise broken(f"stages.{number}.mixer", str(error).rstrip(".")) from None

    def _plugin_choices(self) -> Iterator[tuple[Plugin, str, int, dict[str, tuple]]]:
        """Each plugin's mixer with the number of a stage in which it may stand and its choices there."""
        for number, axes in self._stage_axes.items():
            for plugin in self.plugins:
                for name in axes["mixer"]:
                    if name in plugin.mixers:
                        own = {option: axes[option] for option in self.row(name).options if option in axes}
                        yield plugin, name, number, {"width": axes["width"], **own}

    def _sides(self, number: int, image_size: int) -> list[int]:
        """The sides that a stage's maps may have."""
        return sorted({map_sides(self.draw(_first_but(stem)), image_size)[number - 1] for stem in self._stems()})

    def _stems(self) -> Iterator[dict[str, int]]:
        """The choices of every stem that may stand, by name."""
        names = ("stem_steps", "stem_stride", "stem_kernel")
        return _product([(name, options) for name, options in self._network_axes.items() if name in names])

    def _check_stage(self, number: int, axes: dict[str, tuple]) -> None:
        if max(axes["depth"]) > DEEPEST:
            raise broken(f"stages.{number}.depth", f"must be at most {DEEPEST:,} blocks, but got {max(axes['depth']):,}")
        for mixer in axes["mixer"]:
            own = {name: axes[name] for name in self.row(mixer).options if name in axes}
            self._check_together(number, mixer, {"width": axes["width"], **own})
            firsts = {name: options[:1] for name, options in own.items()}
            for ratio in ("mlp_ratio", "se_ratio"):
                if ratio in axes:
                    self._check_together(number, mixer, {"width": axes["width"], **firsts, ratio: axes[ratio]})

    def _check_together(self, number: int, mixer: str, axes: dict[str, tuple]) -> None:
        """Every combination of choices that one rule may look at."""
        if (several := prod(map(len, axes.values()))) > MOST_COMBINATIONS:
            rule = (
                f"must make at most {MOST_COMBINATIONS:,} combinations with {mixer}'s {', '.join(axes)}, but makes {several:,}"
            )
            raise broken(f"stages.{number}.width", f"{rule}; give fewer choices, or a range with a larger step")
        for chosen in _product(list(axes.items())):
            try:
                Stage(**{"depth": 1, "mixer": mixer, **self._code_of(mixer), **chosen})
            except ValidationError as error:
                refusal = error.errors()[0]["ctx"]
                raise broken(f"stages.{number}.{refusal['path']}", refusal["rule"]) from None

    def check_resolution(self, image_size: int, path: str) -> None:
        """An error under that dotted path unless every stem leaves each stage a map of images of that size."""
        for stem in self._stems():
            try:
                feature_sides(self.draw(_first_but(stem)), image_size=image_size)
            except ValidationError as error:
                setting, _, rule = error.errors()[0]["msg"].removeprefix("Value error, ").partition(" ")
                raise broken(setting, f"{rule}; leave one of the two out") from None
            except Infeasible as error:
                raise broken(path, str(error).rstrip(".")) from None

    @cached_property
    def _stage_axes(self) -> dict[int, dict[str, tuple]]:
        shared = choices_set(self.all_stages)
        merged = {number: {**shared, **choices_set(stage)} for number, stage in sorted(self.stages.items())}
        return {number: {f: axes[f] for f in settings_of_stages() if f in axes} for number, axes in merged.items()}

    @property
    def overridden(self) -> list[str]:
        """Settings of `all_stages` that no stage takes, because each has its own."""
        return [name for name in choices_set(self.all_stages) if all(name in choices_set(s) for s in self.stages.values())]

    @cached_property
    def _network_axes(self) -> dict[str, tuple]:
        return {name: getattr(self, name) for name in NETWORK_FIELDS if getattr(self, name) is not None}

    @cached_property
    def axes(self) -> dict[str, tuple]:
        """Every open choice by name (`head`, `stage2.mixer`): what a sampler has to decide."""
        staged = {f"stage{n}.{f}": o for n, fields in self._stage_axes.items() for f, o in fields.items()}
        return {name: options for name, options in {**self._network_axes, **staged}.items() if len(options) > 1}

    @property
    def stem_strides(self) -> tuple[int, ...]:
        """Strides of the stem that it allows."""
        return self._network_axes.get("stem_stride", (Architecture.model_fields["stem_stride"].default,))

    def options(self, number: int, field: str) -> tuple:
        """The choices of a stage, counted from 1, for one of its fields; none where it has the default."""
        return self._stage_axes[number].get(field, ())

    @property
    def needs_fixed_resolution(self) -> bool:
        """Whether some of its architectures have weights that belong to positions."""
        stages = self._stage_axes.values()
        return any(
            any(self.row(mixer).position_weights for mixer in axes["mixer"]) or True in axes.get("position_embedding", ())
            for axes in stages
        )

    def draw(self, choose: Choose) -> Architecture:
        """The architecture that `choose(name, options) -> option` decides; it is asked for open and active choices only."""

        def pick(name: str, options: tuple) -> Any:
            return options[0] if len(options) == 1 else choose(name, options)

        network: dict[str, Any] = {}
        for name, options in self._network_axes.items():
            if is_active_in_network(name, network):
                network[name] = pick(name, options)
        stages = []
        for number, axes in self._stage_axes.items():
            chosen: dict[str, Any] = {}
            for field, options in axes.items():
                if is_active(field, chosen):
                    chosen[field] = pick(f"stage{number}.{field}", options)
                if field == "mixer":
                    chosen |= self._code_of(chosen["mixer"])
            stages.append(_stage_of(tuple(chosen.items())))
        return Architecture(stages=tuple(stages), **network)

    def choices(self, architecture: Architecture) -> dict[str, Any]:
        """The open choices that lead to `architecture`, by name; meaningless unless the space contains it."""
        network = {name: getattr(architecture, name) for name in NETWORK_FIELDS}
        chosen = {name: network[name] for name in self._network_axes if is_active_in_network(name, network)}
        for number, stage in enumerate(architecture.stages, start=1):
            plain = stage.model_dump()
            chosen |= {f"stage{number}.{f}": plain[f] for f in self._stage_axes.get(number, {}) if is_active(f, plain)}
        return {name: value for name, value in chosen.items() if name in self.axes}

    def contains(self, architecture: Architecture) -> bool:
        """Whether the search could propose `architecture`."""
        if len(architecture.stages) != len(self._stage_axes):
            return False
        chosen = self.choices(architecture)
        return self.draw(lambda name, options: chosen[name] if chosen.get(name) in options else options[0]) == architecture

    def nearest(self, architecture: Architecture) -> Architecture:
        """The space's architecture that takes each choice as `architecture` has it, or the closest there is.

        A number becomes the nearest number, anything else that the space lacks the first option.
        """
        wanted = {name: getattr(architecture, name) for name in self._network_axes}
        for number, stage in enumerate(architecture.stages, start=1):
            wanted |= {f"stage{number}.{field}": value for field, value in stage.model_dump().items()}
        return self.draw(lambda name, options: _closest(options, wanted.get(name)))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Every architecture that differs in one choice; what that choice newly activates takes its first option."""
        chosen = self.choices(architecture)
        for axis, value in chosen.items():
            for other in self.axes[axis]:
                if other != value:
                    yield self.draw(_first_but({**chosen, axis: other}))

    def spread(self) -> list[Architecture]:
        """Architectures among which every option of every choice stands, under each mixer that it counts for."""
        drawn = []
        for number, axes in self._stage_axes.items():
            for mixer in axes["mixer"]:
                for field, options in axes.items():
                    of_mixer = {f"stage{number}.mixer": mixer}
                    drawn += [self.draw(_first_but({f"stage{number}.{field}": option} | of_mixer)) for option in options]
        network = [self.draw(_first_but({name: option})) for name, options in self._network_axes.items() for option in options]
        return list(dict.fromkeys([*drawn, *network]))

    @cached_property
    def size(self) -> int:
        """Number of different architectures, constraints left aside."""
        total = _count(list(self._network_axes.items()), {}, self._code_of, active=is_active_in_network)
        for axes in self._stage_axes.values():
            total *= _count(list(axes.items()), {}, self._code_of)
        return total

    def cost(self, architecture: Architecture) -> Cost:
        """What `architecture` costs at the space's resolution and number of classes."""
        return cost(architecture, image_size=self.image_size, num_classes=self.num_classes)


@lru_cache(MOST_STAGES)
def _stage_of(chosen: tuple[tuple[str, Any], ...]) -> Stage:
    """A stage of these choices; most networks that are drawn share stages with others."""
    return Stage(**dict(chosen))


def _first_but(chosen: dict[str, Any]) -> Choose:
    """Chooses what is given by name, else the first option."""
    return lambda name, options: chosen.get(name, options[0])


def _closest(options: tuple, wanted: Any) -> Any:
    if wanted in options:
        return wanted
    numbers = all(isinstance(o, int | float) for o in (*options, wanted)) and not isinstance(wanted, bool)
    return min(options, key=lambda o: abs(o - wanted)) if numbers else options[0]


def _check_names(plugins: tuple[Plugin, ...]) -> None:
    """An error where two mixers have one name or letter, or an option is called like something else."""
    places: dict[str, str] = {}
    for plugin in plugins:
        for name, row in plugin.mixers.items():
            for what in (f"the mixer {name}", f"the letter {row.letter}"):
                if what in places:
                    raise broken(
                        "plugins", f"must have {what} once, but {places[what]} and {plugin.file}: {name} have it; rename one"
                    )
                places[what] = f"{plugin.file}: {name}"
            if taken := sorted(set(row.options) & set(STAGE_FIELDS) - set(OPTIONS)):
                rule = f"{plugin.file}: MIXERS.{name}.options must not be called like other settings of a stage"
                raise broken("plugins", f"{rule}, but got {few(taken, most=5)}; rename it")


def _count(
    axes: list[tuple[str, tuple]],
    chosen: dict[str, Any],
    code_of: Callable[[str], dict[str, str]],
    active: Callable[[str, dict[str, Any]], bool] = is_active,
) -> int:
    if not axes:
        return 1
    (field, options), rest = axes[0], axes[1:]
    if not active(field, chosen):
        return _count(rest, chosen, code_of, active)
    if field not in SWITCHES:
        return len(options) * _count(rest, chosen, code_of, active)
    code = code_of if field == "mixer" else lambda option: {}
    return sum(_count(rest, {**chosen, field: option, **code(option)}, code_of, active) for option in options)


def _product(axes: list[tuple[str, tuple]]) -> Iterator[dict[str, Any]]:
    if not axes:
        yield {}
        return
    (name, options), rest = axes[0], axes[1:]
    for option in options:
        for below in _product(rest):
            yield {name: option, **below}
