"""Parameters, multiply-accumulates and activation memory of an architecture in closed form, in microseconds.

MACs count convolutions, linears and matrix products (both products of attention, the classifier); norms, pooling, activations
and additions count nothing. That is `torch.utils.flop_counter.FlopCounterMode / 2` and what MetaFormer Baselines prints.
"""

from collections.abc import Iterator

from nas.errors import Infeasible
from nas.space.activations import ACTIVATIONS
from nas.space.architecture import Architecture, Stage
from nas.space.costs import Cost
from nas.space.geometry import (
    HEAD_RATIO,
    IMAGE_CHANNELS,
    MLP_KERNEL,
    map_sides,
    stem_convolutions,
    stem_padding,
    stem_sides,
    stem_widths,
)
from nas.space.mixers import row_of
from nas.space.norms import NORMS


def cost(architecture: Architecture, *, image_size: int, num_classes: int) -> Cost:
    """What `architecture` costs for square images of `image_size` pixels; Infeasible where a stage would get no feature map."""
    sides = feature_sides(architecture, image_size=image_size)
    parts = [*_stem(architecture, image_size), _head(architecture, sides[-1] ** 2, num_classes)]
    for i, stage in enumerate(architecture.stages):
        if i > 0:
            before = architecture.stages[i - 1].width
            parts.append(_downsampling(architecture, before, sides[i - 1] ** 2, stage.width, sides[i] ** 2))
        parts.append(_stage(stage, sides[i] ** 2))
    params, frozen, macs, live, *_ = zip(*parts, strict=True)
    return Cost(sum(params), sum(frozen), sum(macs), max(live))


def feature_sides(architecture: Architecture, *, image_size: int) -> list[int]:
    """Side of each stage's square feature map; Infeasible where one has nothing left to downsample."""
    sides, stride = map_sides(architecture, image_size), architecture.stem_stride
    if sides[0] < 1 or 1 in sides[:-1]:
        raise Infeasible(
            f"an image of {image_size} px is too small for {len(sides)} stages behind a stem of stride {stride}: their maps "
            f"would have {', '.join(str(max(s, 0)) for s in sides)} px a side. Use at least {_smallest_image(architecture)} px."
        )
    return sides


def _smallest_image(architecture: Architecture) -> int:
    side = 2 ** (len(architecture.stages) - 2) + 1 if len(architecture.stages) > 1 else 1
    for kernel, stride in reversed(stem_convolutions(architecture)):
        side = max(1, (side - 1) * stride + kernel - 2 * stem_padding(kernel, stride))
    return side


def _stem(architecture: Architecture, image_size: int) -> Iterator[Cost]:
    """Each convolution with the norm behind it, and the activation between two."""
    c_in, n_in = IMAGE_CHANNELS, image_size**2
    sides, widths = stem_sides(architecture, image_size), stem_widths(architecture)
    for (kernel, _), side, c in zip(stem_convolutions(architecture), sides, widths, strict=True):
        n, weights = side**2, kernel**2 * c_in * c
        params = weights + c + (c if architecture.stem_norm else 0)
        yield Cost(params, 0, weights * n, _bytes(max(c_in * n_in + c * n, 2 * c * n)))
        c_in, n_in = c, n


def _downsampling(architecture: Architecture, c_in: int, n_in: int, c: int, n: int) -> Cost:
    weights = 9 * c_in * c
    norm = c_in if architecture.downsample_norm else 0
    live = max(c_in * n_in + c * n, 2 * c_in * n_in if norm else 0)
    return Cost(weights + c + norm, 0, weights * n, _bytes(live))


def _stage(stage: Stage, n: int) -> Cost:
    """`depth` equal blocks on `n` positions, and the position embedding before them."""
    c, hidden, depth = stage.width, stage.hidden, stage.depth
    mixer = row_of(stage).cost(stage, n)
    half = _norm_params(stage) + (c if stage.layer_scale is not None else 0) + (c if stage.res_scale else 0)
    params, macs, live = mixer.params + half, mixer.macs, max(3 * c * n, mixer.activation_bytes)
    if hidden:
        inside = MLP_KERNEL**2 * hidden if stage.mlp == "conv" else 0
        bias = (2 * hidden if inside else hidden) + c if stage.mlp_bias else 0
        params += half + 2 * c * hidden + inside + bias + ACTIVATIONS[stage.activation].params
        macs += (2 * c * hidden + inside) * n
        live = max(live, 2 * c * n + hidden * n, c * n + 2 * hidden * n)
    if squeezed := stage.squeezed:
        params += 2 * c * squeezed + squeezed + c
        macs += 2 * c * squeezed
        live = max(live, 3 * c * n + c)
    if not stage.residual:
        live -= c * n  # nothing waits beside the branch
    embedding = c * n if stage.position_embedding else 0
    return Cost(depth * params + embedding, depth * mixer.frozen_params, depth * macs, _bytes(live))


def _head(architecture: Architecture, n: int, num_classes: int) -> Cost:
    last = architecture.stages[-1]
    c, hidden = last.width, HEAD_RATIO * last.width
    norm = 2 * c if architecture.head_norm == "pool_norm" else _norm_params(last)
    if architecture.head == "linear":
        return Cost(norm + c * num_classes + num_classes, 0, c * num_classes, _bytes(c * n + c))
    params = c * hidden + hidden + 2 * hidden + hidden * num_classes + num_classes
    return Cost(norm + params, 0, c * hidden + hidden * num_classes, _bytes(c * n + c))


def _norm_params(stage: Stage) -> int:
    if not NORMS[stage.norm].has_weights:
        return 0
    return 2 * stage.width if stage.norm_bias else stage.width


def _bytes(floats: int) -> int:
    return 4 * floats
