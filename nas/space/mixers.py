"""The table of token mixers: everything that the rest asks about one stands in its row.

A new mixer is a row here, its options as fields of `Stage` (architecture.py), and its module in `nas/models/mixers.py`. A
plugin's (`nas/space/plugins`) are further rows.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from nas.space.activations import ACTIVATIONS
from nas.space.costs import Cost

if TYPE_CHECKING:
    from nas.space.architecture import Stage


class Refusal(NamedTuple):
    """Why a stage can't be built: the setting to blame, and the rule, the value and the way out."""

    field: str
    rule: str


class Mixer(NamedTuple):
    """A token mixer. It maps `n` positions of `stage.width` channels to as many."""

    letter: str
    """In one-line descriptions, such as `P2·64`."""
    module: str
    """Its class in `nas.models.mixers`."""
    cost: "Callable[[Stage, int], Cost]"
    """Of one block on n positions; `activation_bytes` counts floats here, the waiting residual included."""
    options: Mapping[str, Any]
    """The settings of a stage that it has besides depth and width, with the papers' own values."""
    check: "Callable[[Stage], Refusal | None]"
    """Why a stage of such options can't be built; None where it can."""
    needs_tokens: bool = False
    """Whether it takes `(B, N, C)`; else it takes maps `(B, C, H, W)`."""
    position_weights: tuple[str, ...] = ()
    """Its weights that have one entry a position, so that they fit one resolution only."""
    uses_activation: bool = False
    timm_options: Mapping[str, str] | None = None
    """What timm's class of the same name calls its options, and its activation; None where timm has no such class."""
    window: str | None = None
    """The option that is the side of the window it looks through: what reaches past the map on every side changes nothing."""
    alone: str | None = None
    """The mixer that it equals on a map of one position."""
    idle_alone: tuple[str, ...] = ()
    """Options that change nothing on a map of one position."""
    merges_into: str | None = None
    """The mixer that it becomes at inference, its weights merged into the norm before it (`nas.models.reparam`)."""
    plugin: str | None = None
    """The digest of the plugin that it comes from; None for one of ours."""


def _fits(stage: "Stage") -> None:
    """Any width will do."""


def _odd(name: str) -> "Callable[[Stage], Refusal | None]":
    def check(stage: "Stage") -> Refusal | None:
        size = getattr(stage, name)
        rule = f"{name} must be odd so that the feature map keeps its size, but got {size}"
        return Refusal(name, rule) if size % 2 == 0 else None

    return check


def _check_conv(stage: "Stage") -> Refusal | None:
    if not stage.expanded:
        rule = f"expansion must leave at least one channel of width {stage.width}, but got {stage.expansion}"
        return Refusal("expansion", rule)
    return _odd("kernel_size")(stage)


def _check_attention(stage: "Stage") -> Refusal | None:
    if stage.width % stage.option("head_dim") == 0:
        return None
    rule = f"width must be a multiple of head_dim={stage.head_dim} for {stage.mixer}, but got {stage.width}"
    return Refusal("width", f"{rule}; change the width or head_dim")


def _pool(stage: "Stage", n: int) -> Cost:
    return Cost(activation_bytes=4 * stage.width * n)


def _identity(stage: "Stage", n: int) -> Cost:
    return Cost(activation_bytes=2 * stage.width * n)


def _affine(stage: "Stage", n: int) -> Cost:
    return Cost(params=2 * stage.width, macs=stage.width * n, activation_bytes=4 * stage.width * n)


def _random(stage: "Stage", n: int) -> Cost:
    return Cost(frozen_params=n * n, macs=n * n * stage.width, activation_bytes=3 * stage.width * n)


def _spatial_fc(stage: "Stage", n: int) -> Cost:
    return Cost(params=n * n, macs=n * n * stage.width, activation_bytes=3 * stage.width * n)


def _dwconv(stage: "Stage", n: int) -> Cost:
    weights = stage.option("kernel_size") ** 2 * stage.width
    return Cost(params=weights, macs=weights * n, activation_bytes=3 * stage.width * n)


def _conv(stage: "Stage", n: int) -> Cost:
    c, hidden = stage.width, stage.expanded
    weights = 2 * c * hidden + stage.option("kernel_size") ** 2 * hidden
    params = weights + ACTIVATIONS[stage.activation].params
    return Cost(params=params, macs=weights * n, activation_bytes=max(c + 2 * hidden, 2 * c + hidden) * n)


def _attention(stage: "Stage", n: int) -> Cost:
    c, bias = stage.width, stage.width if stage.proj_bias else 0
    return Cost(params=4 * c * c + bias, macs=4 * c * c * n + 2 * n * n * c, activation_bytes=5 * c * n)


def _linear_attention(stage: "Stage", n: int) -> Cost:
    c, head_dim = stage.width, stage.option("head_dim")
    ones = c // head_dim  # a column of ones beside each head's values counts the weights, by which the sum is divided
    products = n * c * (head_dim + 1)
    live = max(7 * c * n + ones * n, 4 * c * n + ones * n + c * (head_dim + 1))
    return Cost(params=4 * c * c, macs=4 * c * c * n + 2 * products, activation_bytes=live)


# Options with the papers' own values: pooling 3x3 (arXiv:2111.11418, table 1), separable convolution 7x7 with expansion 2 and
# attention heads of 32 channels without bias (arXiv:2210.13452, section 3).
MIXERS = {
    "pool": Mixer(
        "P",
        "Pooling",
        _pool,
        {"pool_size": 3},
        _odd("pool_size"),
        timm_options={"pool_size": "pool_size"},
        window="pool_size",
    ),
    "identity": Mixer("I", "Identity", _identity, {}, _fits, timm_options={}),
    "random": Mixer("R", "RandomMixing", _random, {}, _fits, position_weights=("random_matrix",), alone="identity"),
    "conv": Mixer(
        "C",
        "SepConv",
        _conv,
        {"kernel_size": 7, "expansion": 2.0},
        _check_conv,
        uses_activation=True,
        window="kernel_size",
        timm_options={"kernel_size": "kernel_size", "expansion": "expansion_ratio", "activation": "act1_layer"},
    ),
    "dwconv": Mixer("D", "DepthwiseConv", _dwconv, {"kernel_size": 3}, _odd("kernel_size"), window="kernel_size"),
    "attention": Mixer(
        "A",
        "Attention",
        _attention,
        {"head_dim": 32, "proj_bias": False},
        _check_attention,
        needs_tokens=True,
        idle_alone=("head_dim",),
        timm_options={"head_dim": "head_dim", "proj_bias": "proj_bias"},
    ),
    "spatial_fc": Mixer("F", "SpatialFC", _spatial_fc, {}, _fits, position_weights=("fc.weight",)),
    "affine": Mixer("S", "Affine", _affine, {}, _fits, merges_into="identity"),
    "linear_attention": Mixer(
        "L",
        "LinearAttention",
        _linear_attention,
        {"head_dim": 32},
        _check_attention,
        timm_options={"head_dim": "head_dim"},
    ),
}
BUILT_IN = tuple(MIXERS)
OPTIONS = tuple(dict.fromkeys(name for mixer in MIXERS.values() for name in mixer.options))
"""The names of these mixers' options, which are fields of a stage."""
VERSIONS: dict[tuple[str, str], Mixer] = {}
"""The rows of plugins by name and digest: two runs may have other code under one name, the table has the last one heard of."""


def row_of(stage: "Stage") -> Mixer:
    """The row of a stage's mixer."""
    return MIXERS[stage.mixer] if stage.plugin is None else VERSIONS[stage.mixer, stage.plugin]


def plugin_options() -> tuple[str, ...]:
    """Options that only plugins' mixers have."""
    return tuple(dict.fromkeys(name for row in VERSIONS.values() for name in row.options if name not in OPTIONS))


def positional() -> list[str]:
    """The mixers that fit one resolution only."""
    return [name for name, mixer in MIXERS.items() if mixer.position_weights]


def in_short(mixer: str, depth: float, width: int | None = None, *, mlp: str = "plain", se_ratio: float = 0) -> str:
    """A stage in few letters, such as `P2·64` or `P2·64+cs`; a mixer that this version does not know gets a question mark."""
    letter = MIXERS[mixer].letter if mixer in MIXERS else "?"
    extras = ("c" if mlp == "conv" else "") + ("s" if se_ratio else "")
    return f"{letter}{depth:.0f}" + ("" if width is None else f"·{width}") + (f"+{extras}" if extras else "")


EXTRAS = {"c": "a convolution in the channel MLP", "s": "squeeze-and-excitation"}


def legend(lines: Iterable[str]) -> str:
    """What the letters and numbers in the short `lines` of architectures mean."""
    stages = [stage for line in lines for stage in line.split()]
    used, extras = {stage[0] for stage in stages}, {letter for stage in stages for letter in stage.partition("+")[2]}
    letters = [f"{mixer.letter} {name}" for name, mixer in MIXERS.items() if mixer.letter in used]
    letters += [f"+{letter} {meaning}" for letter, meaning in EXTRAS.items() if letter in extras]
    return f"architecture: stage by stage mixer, depth · width; {', '.join(letters)}"
