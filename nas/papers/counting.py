"""What a paper's table counts where it is not what `cost` counts: fvcore's MACs, params without LayerScale.

fvcore counts 5 operations an entry of an affine group or layer norm's input, 2 of a batch norm's in eval mode, 1 of an adaptive
average pool's (fvcore/nn/jit_handles.py; a MetaFormer takes the mean instead, which it leaves out), on top of `cost`'s MACs.
"""

from nas.space.architecture import Architecture, Stage
from nas.space.cost import cost, feature_sides
from nas.space.geometry import HEAD_RATIO, stem_sides, stem_widths
from nas.space.norms import NORMS

LAYER = NORMS["layer"].fvcore_operations  # of the norms that stand outside of blocks


def fvcore_macs(architecture: Architecture, *, image_size: int, num_classes: int) -> int:
    """MACs for one square image as fvcore counts them with attention unfused; Infeasible as `cost`."""
    stages, sides = architecture.stages, feature_sides(architecture, image_size=image_size)
    entries = [stage.width * side**2 for stage, side in zip(stages, sides, strict=True)]
    total = cost(architecture, image_size=image_size, num_classes=num_classes).macs + _head(architecture, entries[-1])
    total += sum(NORMS[s.norm].fvcore_operations * num_branches(s) * s.depth * n for s, n in zip(stages, entries, strict=True))
    stem = zip(stem_widths(architecture), stem_sides(architecture, image_size), strict=True)
    total += LAYER * (sum(width * side**2 for width, side in stem) if architecture.stem_norm else 0)
    return total + LAYER * (sum(entries[:-1]) if architecture.downsample_norm else 0)


def params_without_layer_scale(architecture: Architecture, *, image_size: int, num_classes: int) -> int:
    """Trainable parameters less those of LayerScale; Infeasible as `cost`."""
    scales = sum(num_branches(s) * s.depth * s.width for s in architecture.stages if s.layer_scale is not None)
    return cost(architecture, image_size=image_size, num_classes=num_classes).params - scales


def num_branches(stage: Stage) -> int:
    """Branches of a block, each with its norm and its scale: token mixer and channel MLP, or the mixer alone."""
    return 2 if stage.hidden else 1


def _head(architecture: Architecture, entries: int) -> int:
    """The norm before or after the mean, and the one inside the MLP head."""
    last = architecture.stages[-1]
    pooled = architecture.head_norm == "pool_norm"
    first = LAYER * last.width if pooled else NORMS[last.norm].fvcore_operations * entries
    return first + (LAYER * HEAD_RATIO * last.width if architecture.head == "mlp" else 0)
