"""One candidate network as a value: its canonical form, its key, its JSON, its one-line description."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nas.config.layers import rooted
from nas.config.text import mapping_in
from nas.config.values import Flag, OpenValue, Value, broken, known_name, validated
from nas.errors import shortened
from nas.space.activations import ACTIVATIONS
from nas.space.geometry import STEP_KERNEL, channels
from nas.space.mixers import BUILT_IN, MIXERS, OPTIONS, VERSIONS, Mixer, in_short, plugin_options, row_of
from nas.space.norms import NORMS
from nas.space.plugins.named import plugin_of
from nas.space.plugins.plugin import PLUGINS

MixerName = Annotated[str, known_name("mixer", MIXERS)]
NormName = Annotated[str, known_name("norm", NORMS)]
ActivationName = Annotated[str, known_name("activation", ACTIVATIONS)]
MOST_CHANNELS, MOST_PIXELS = 100_000, 10_000  # no network is wider, no image larger
Positive = Annotated[int, Field(strict=True, ge=1, le=MOST_CHANNELS)]
Ratio = Annotated[float, Field(strict=True, ge=0, le=MOST_CHANNELS, allow_inf_nan=False)]


class Stage(OpenValue):
    """`depth` MetaFormer blocks of one `width`; the defaults are those of MetaFormer Baselines (arXiv:2210.13452).

    An option that the stage's other choices leave without effect (a pool size under attention, an activation with no
    MLP) is dropped when the value is made, so that two stages that build the same blocks are equal. What else a plugin's mixer
    can be set stands beside the fields.
    """

    mixer: MixerName
    depth: Annotated[int, Field(strict=True, ge=1)]
    width: Positive
    norm: NormName = "layer"
    norm_bias: Flag = False
    mlp_ratio: Ratio = 4.0
    """Hidden width of the channel MLP over `width`; 0 leaves the MLP and its norm out."""
    mlp: Literal["plain", "conv"] = "plain"
    """conv has a 3x3 depthwise convolution behind the MLP's activation: an inverted residual (arXiv:1801.04381), as timm's
    SepConv."""
    mlp_bias: Flag = False
    activation: ActivationName = "star_relu"
    residual: Flag = True
    res_scale: Flag = False
    layer_scale: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    """Initial value of LayerScale on both branches; None leaves it out."""
    position_embedding: Flag = False
    se_ratio: Annotated[Ratio, Field(le=1)] = 0.0
    """Squeeze-and-excitation on what the token mixer gives (arXiv:1709.01507, figure 3): channels between its two maps over
    `width`; 0 leaves it out."""
    pool_size: Positive | None = None
    kernel_size: Positive | None = None
    expansion: Annotated[Ratio, Field(gt=0)] | None = None
    head_dim: Positive | None = None
    proj_bias: Flag | None = None
    plugin: str | None = None
    """The digest of the mixer's code where it is a plugin's; without one the last that was named."""

    @classmethod
    def further_keys(cls) -> tuple[str, ...]:
        """What plugins' mixers can be set."""
        return plugin_options()

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("mixer") not in MIXERS:
            return data
        row = _row_named(data)
        written = {k: v for k, v in data.items() if v is not None}
        active = {k: _in_kind(v, row.options.get(k)) for k, v in written.items() if is_active(k, written)}
        return {**row.options, **active, "plugin": row.plugin}

    @model_validator(mode="after")
    def _can_be_built(self) -> "Stage":
        if self.mlp_ratio and not self.hidden:
            rule = f"mlp_ratio must leave at least one channel of width {self.width}, but got {self.mlp_ratio}"
            raise broken("mlp_ratio", rule)
        if self.se_ratio and not self.squeezed:
            rule = f"se_ratio must leave at least one channel of width {self.width}, but got {self.se_ratio}"
            raise broken("se_ratio", f"{rule}; 0 leaves squeeze-and-excitation out")
        refusal = row_of(self).check(self)
        if refusal is not None:
            raise broken(*refusal)
        return self

    def option(self, name: str) -> Any:
        """The value of an option that the stage's mixer has."""
        value = getattr(self, name, None)
        assert value is not None, f"{self.mixer} has no {name}"
        return value

    @property
    def holds_positions(self) -> bool:
        """Whether some weights have one entry a position, so that they fit one resolution only."""
        return bool(row_of(self).position_weights) or self.position_embedding

    @property
    def hidden(self) -> int:
        """Hidden channels of the channel MLP; 0 without one."""
        return channels(self.mlp_ratio, self.width)

    @property
    def squeezed(self) -> int:
        """Channels between the two maps of squeeze-and-excitation; 0 without one."""
        return channels(self.se_ratio, self.width)

    @property
    def expanded(self) -> int:
        """Channels between the two pointwise convolutions of the conv mixer; 0 under any other."""
        return channels(self.expansion or 0, self.width)

    def __getstate__(self) -> dict[Any, Any]:
        carried = {} if self.plugin is None else {"carried": PLUGINS[self.plugin]}
        return {**super().__getstate__(), **carried}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name != "carried"})


def _in_kind(value: Any, default: Any) -> Any:
    """A whole number as a float where the default is one, so that 2 and 2.0 are one choice."""
    return float(value) if type(default) is float and type(value) is int else value


def settings_of_stages() -> tuple[str, ...]:
    """What a search may choose of a stage: its fields, and what plugins' mixers can be set besides."""
    return (*(name for name in Stage.model_fields if name != "plugin"), *plugin_options())


def _row_named(stage: dict[str, Any]) -> Mixer:
    """The row of the mixer that plain data of a stage name."""
    name, digest = stage["mixer"], stage.get("plugin")
    if digest is None or name in BUILT_IN:
        return MIXERS[name]
    if (name, digest) not in VERSIONS:
        rule = f"is {name} of a plugin with the digest {shortened(str(digest))}, which nothing names here"
        raise broken("mixer", f"{rule}; name that file under plugins")
    return VERSIONS[name, digest]


def is_active(field: str, stage: dict[str, Any]) -> bool:
    """Whether `field` changes the network, given the stage's mixer, norm, residual and mlp_ratio."""
    if field in OPTIONS or (VERSIONS and field in plugin_options()):
        return field in _row_named(stage).options
    match field:
        case "norm_bias":
            return NORMS[stage.get("norm", "layer")].has_weights
        case "mlp" | "mlp_bias":
            return stage.get("mlp_ratio", 4.0) != 0
        case "activation":
            return stage.get("mlp_ratio", 4.0) != 0 or _row_named(stage).uses_activation
        case "res_scale":
            return stage.get("residual") is not False
    return True


def is_active_in_network(field: str, network: dict[str, Any]) -> bool:
    """Whether `field` of an architecture, beside its stages, changes the network, given the others."""
    return field != "stem_kernel" or network.get("stem_steps", 1) == 1


YOUNGER = ("mlp", "se_ratio", "stem_steps")
"""Settings that came after the first keys: at their default they are no part of a key, so that every key stays what it is."""


class Architecture(Value):
    """A MetaFormer: a stem, stages with a 3x3 stride-2 downsampling before each but the first, a head.

    It knows neither resolution nor classes: those belong to where it is counted, built or trained.
    """

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    stem_steps: Annotated[int, Field(strict=True, ge=1, le=2)] = 1
    """Convolutions of the stem. Two are 3x3, with half the channels, a norm and a GELU between (arXiv:2106.14881; as in timm's
    MambaOut, arXiv:2405.07992)."""
    stem_kernel: Positive = 7
    """Of a stem of one step; each of two has a kernel of 3."""
    stem_stride: Positive = 4
    """Of the whole stem: 1, 2 or 4 where it has two steps."""
    stem_norm: Flag = True
    """A bias-free layer norm after each of the stem's convolutions (MetaFormer Baselines; PoolFormer has none)."""
    downsample_norm: Flag = True
    """A bias-free layer norm before each downsampling convolution (likewise)."""
    head: Literal["linear", "mlp"] = "linear"
    head_norm: Literal["pool_norm", "norm_pool"] = "pool_norm"
    """Mean over positions, then a layer norm; or the last stage's norm on the map, then the mean (PoolFormer's paper)."""

    @model_validator(mode="before")
    @classmethod
    def _canonical(cls, data: Any) -> Any:
        if isinstance(data, dict) and not is_active_in_network("stem_kernel", data):
            return {**data, "stem_kernel": STEP_KERNEL}
        return data

    @model_validator(mode="after")
    def _stem_covers(self) -> "Architecture":
        if self.stem_steps == 2:
            if self.stem_stride not in (1, 2, 4):
                raise ValueError(f"stem_stride must be 1, 2 or 4 with stem_steps=2, but got {self.stem_stride}")
            return self
        if self.stem_kernel < self.stem_stride:
            raise ValueError(
                f"stem_kernel must be at least stem_stride={self.stem_stride} so that no pixel is skipped, "
                f"but got {self.stem_kernel}"
            )
        return self

    @property
    def identity(self) -> str:
        """64 hexadecimal digits that are equal for equal networks."""
        data = self.to_dict()
        for stage, plain in zip(self.stages, data["stages"], strict=True):
            plain["mlp_ratio"], plain["expansion"], plain["se_ratio"] = stage.hidden, stage.expanded, stage.squeezed
            _drop_young_defaults(plain, Stage)
        _drop_young_defaults(data, Architecture)
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()

    @property
    def key(self) -> str:
        """The first twelve of them, which are enough within a run."""
        return self.identity[:12]

    @property
    def needs_fixed_resolution(self) -> bool:
        """Whether some weights have one entry a position, so that the network fits the resolution it was built for only."""
        return any(stage.holds_positions for stage in self.stages)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; options without effect are left out."""
        return self.model_dump(exclude_none=True, mode="json")

    def describe(self) -> str:
        """One readable line, a letter for the mixer, depth and width of each stage, such as `P2·64 P2·128 C6·320 A2·512`."""
        return " ".join(in_short(s.mixer, s.depth, s.width, mlp=s.mlp, se_ratio=s.se_ratio) for s in self.stages)


def _drop_young_defaults(data: dict[str, Any], kind: type[Value]) -> None:
    for name in YOUNGER:
        if name in data and data[name] == kind.model_fields[name].default:
            del data[name]


def read_architecture(path: Path) -> Architecture:
    """The architecture in a JSON file, either bare or under the key "architecture", beside which "plugins" may stand."""
    data = rooted(mapping_in(path), path.parent)  # JSON is YAML; this way bad syntax gets a line and a column
    for plugin in data.get("plugins", ()) if "architecture" in data else ():
        plugin_of(plugin)
    return validated(Architecture, data.get("architecture", data), where=str(path))
