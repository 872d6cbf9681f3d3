"""What an architecture's time is a sum of: how much each of its parts computes, moves, reads and calls, by kind of operator.

A time is foreseen as the sum over all terms of the amount times what one unit of it takes. The terms form levels. On the first
one all operators are alike: MACs, memory traffic, weights, calls. On the second each kind of operator has its own, on the
third each option of a mixer, on the fourth each stage. Measurements decide how far a level differs from those above it.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from nas.space.architecture import Architecture, Stage
from nas.space.cost import feature_sides
from nas.space.geometry import (
    HEAD_RATIO,
    IMAGE_CHANNELS,
    MLP_KERNEL,
    needs_map,
    stem_convolutions,
    stem_sides,
    stem_widths,
)
from nas.space.mixers import row_of
from nas.space.norms import NORMS

REMEMBERED_PARTS = 20_000


class Term(NamedTuple):
    """One summand: an amount of a `quantity`: of all operators (level 1), one kind (2), one option (3), one stage (4)."""

    level: int
    quantity: str
    of: str = ""

    @property
    def name(self) -> str:
        """As it stands in a device file's messages."""
        return f"{self.quantity} of {self.of or 'all operators'}"


class Part(NamedTuple):
    """A part of a network that is equal wherever it stands: its name, and what decides its terms."""

    kind: str
    facts: tuple[Any, ...] = ()


BLOCK_FIELDS = tuple(name for name in Stage.model_fields if name != "depth")
"""What decides one block of a stage, besides what a plugin's mixer can be set."""


class Amounts(NamedTuple):
    """What an operator computes, moves, reads and calls for one image."""

    macs: float = 0.0
    elements: float = 0.0
    """Entries of feature maps that are read or written."""
    weights: float = 0.0
    calls: float = 1.0


Terms = Counter[Term]


def counted_parts(architecture: Architecture, *, image_size: int, num_classes: int) -> list[tuple[Part, int]]:
    """The parts of a network and how often each stands in it; Infeasible where images of that size are too small."""
    sides = feature_sides(architecture, image_size=image_size)
    last = architecture.stages[-1]
    head = (architecture.head, architecture.head_norm, last.norm, last.width, sides[-1], num_classes)
    parts = [(Part("network"), 1), *((part, 1) for part in _stem_parts(architecture, image_size)), (Part("head", head), 1)]
    for i, stage in enumerate(architecture.stages):
        if i:
            down = (architecture.downsample_norm, architecture.stages[i - 1].width, stage.width, sides[i - 1], sides[i])
            parts.append((Part("downsampling", down), 1))
        fields = [value for name, value in stage.__dict__.items() if name != "depth"]
        block = (*fields, tuple((stage.model_extra or {}).items()))
        parts.append((Part("block", (i + 1, block, sides[i])), stage.depth))
        if stage.position_embedding:
            parts.append((Part("embedding", (stage.width, sides[i])), 1))
    return parts


def _stem_parts(architecture: Architecture, image_size: int) -> Iterator[Part]:
    norm, width_in, side_in = architecture.stem_norm, IMAGE_CHANNELS, image_size
    steps = zip(stem_convolutions(architecture), stem_widths(architecture), stem_sides(architecture, image_size), strict=True)
    for number, ((kernel, _), width, side) in enumerate(steps):
        if number:
            yield Part("stem's activation", (width_in, side_in))
        yield Part("stem", ("downsampling" if number else "stem", kernel, norm, width_in, side_in, width, side))
        width_in, side_in = width, side


@lru_cache(REMEMBERED_PARTS)
def terms_of(part: Part) -> Terms:
    """The amounts of one part by term."""
    return _TERMS[part.kind](*part.facts)


def _network() -> Terms:
    return Terms({Term(1, "networks"): 1.0})


def _stem(kind: str, kernel: int, norm: bool, width_in: int, side_in: int, width: int, side: int) -> Terms:
    """One of its convolutions; the second of two is like a downsampling."""
    weights, n = kernel**2 * width_in * width, side**2
    own = _operator(kind, Amounts(weights * n, width_in * side_in**2 + width * n, weights))
    return own + (_norm("layer", width, n) if norm else Terms())


def _stem_activation(width: int, side: int) -> Terms:
    return _operator("gelu", Amounts(elements=2 * width * side**2))


def _downsampling(norm: bool, width_in: int, width: int, side_in: int, side: int) -> Terms:
    weights = 9 * width_in * width
    own = _operator("downsampling", Amounts(weights * side**2, width_in * side_in**2 + width * side**2, weights))
    return own + (_norm("layer", width_in, side_in**2) if norm else Terms())


def _head(head: str, head_norm: str, norm: str, width: int, side: int, num_classes: int) -> Terms:
    n, hidden = side**2, HEAD_RATIO * width if head == "mlp" else 0
    weights = width * hidden + hidden * num_classes if hidden else width * num_classes
    pooled = _operator("mean of positions", Amounts(elements=width * n))
    normed = _norm("layer", width, 1) if head_norm == "pool_norm" else _norm(norm, width, n)
    return pooled + normed + _operator(f"{head} head", Amounts(weights, width + hidden + num_classes, weights))


def _block(number: int, values: tuple[Any, ...], side: int) -> Terms:
    *fields, further = values
    stage, block = Stage(depth=1, **dict(zip(BLOCK_FIELDS, fields, strict=True)), **dict(further)), Terms()
    for kind, amounts in _operators(stage, side**2):
        block.update(_operator(kind, amounts, place=f"stage {number}"))
    for option in row_of(stage).options:
        of = f"{stage.mixer} with {option} {stage.option(option)}"
        block.update({Term(3, "elements", of): stage.width * side**2, Term(3, "calls", of): 1})
    return block


def _embedding(width: int, side: int) -> Terms:
    return _operator("position embedding", Amounts(elements=2 * width * side**2))


def _operators(stage: Stage, n: int) -> Iterator[tuple[str, Amounts]]:
    """Every operator of one block by its kind."""
    c, hidden, row = stage.width, stage.hidden, row_of(stage)
    spent = row.cost(stage, n)
    yield stage.mixer, Amounts(spent.macs, spent.activation_bytes, spent.params + spent.frozen_params)
    halves = 2 if hidden else 1
    tokens = row.needs_tokens and not needs_map(stage)
    norm = _norm_module(stage.norm, tokens=tokens)
    if norm is not None:
        yield norm, Amounts(elements=2 * halves * c * n, calls=halves)
    if squeezed := stage.squeezed:
        weights = 2 * c * squeezed
        yield "squeeze-and-excitation", Amounts(weights, 3 * c * n, weights, calls=5)
    if stage.mlp == "conv":
        weights = 2 * c * hidden + MLP_KERNEL**2 * hidden
        yield "inverted residual", Amounts(weights * n, (2 * c + 4 * hidden) * n, weights, calls=3)
    elif hidden:
        layout = "tokens" if tokens else "maps"
        yield f"channel MLP of {layout}", Amounts(2 * c * hidden * n, 2 * (c + hidden) * n, 2 * c * hidden, calls=2)
    activated = [hidden, stage.expanded if row.uses_activation else 0]
    if any(activated):
        yield stage.activation, Amounts(elements=2 * sum(activated) * n, calls=sum(width > 0 for width in activated))
    if stage.residual:
        yield "residual", Amounts(elements=3 * halves * c * n, calls=halves)
    if stage.res_scale:
        yield "res scale", Amounts(elements=2 * halves * c * n, calls=halves)
    if stage.layer_scale is not None:
        yield "layer scale", Amounts(elements=2 * halves * c * n, calls=halves)


def _norm(norm: str, width: int, n: int) -> Terms:
    module = _norm_module(norm, tokens=False)
    return Terms() if module is None else _operator(module, Amounts(elements=2 * width * n))


def _norm_module(norm: str, *, tokens: bool) -> str | None:
    return NORMS[norm].token_module if tokens else NORMS[norm].map_module


def _operator(kind: str, amounts: Amounts, *, place: str = "") -> Terms:
    """An operator's amounts on each level."""
    terms = Terms()
    for quantity, amount in amounts._asdict().items():
        if amount:
            terms[Term(1, quantity)] = amount
            terms[Term(2, quantity, kind)] = amount
            if place:
                terms[Term(4, quantity, f"{kind} in {place}")] = amount
    return terms


_TERMS: dict[str, Callable[..., Terms]] = {
    "network": _network,
    "stem": _stem,
    "stem's activation": _stem_activation,
    "downsampling": _downsampling,
    "head": _head,
    "block": _block,
    "embedding": _embedding,
}
