"""Merges what training needs and inference does not: RIFormer's affine mixers into the norms before them, arXiv:2304.05659."""

from torch import Tensor

from nas.models.metaformer import MetaFormer, build
from nas.models.norms import EPS
from nas.models.size import check_buildable
from nas.space.architecture import Architecture, Stage
from nas.space.cost import feature_sides
from nas.space.mixers import row_of
from nas.space.norms import NORMS


def merge(model: MetaFormer, architecture: Architecture) -> tuple[MetaFormer, Architecture]:
    """A copy in eval mode, and its architecture, in which every affine mixer that can be merged exactly is the identity.

    A stage keeps its mixer where the norm cannot take it in: see `why_not`. The given model is left as it is.
    """
    state, merged = merged_state(model.state_dict(), architecture)
    copy = build(merged, image_size=model.image_size, num_classes=model.num_classes).to(next(model.stem.parameters()))
    copy.load_state_dict(state)
    return copy.eval(), merged


def deployed(architecture: Architecture, *, image_size: int, num_classes: int) -> MetaFormer:
    """A freshly initialised network as it runs after training: affine mixers are merged; Infeasible for images too small."""
    feature_sides(architecture, image_size=image_size)
    check_buildable(architecture, image_size=image_size, num_classes=num_classes)
    network = build(architecture, image_size=image_size, num_classes=num_classes)
    mergeable = any(row_of(stage).merges_into is not None for stage in architecture.stages)
    return merge(network, architecture)[0] if mergeable else network


def why_not(stage: Stage) -> str | None:
    """What keeps an affine mixer from being merged exactly; None if nothing does.

    The merged norm has a bias. Norms with one add 1e-5 to the variance, those without 1e-6: a batch norm's stored variance
    makes up for the difference, while group and layer norms take theirs from each image.
    """
    norm = NORMS[stage.norm]
    if not norm.has_weights:
        return "there is no norm to merge it into"
    if not norm.stores_statistics and not stage.norm_bias:
        return f"its {stage.norm} norm has no bias (norm_bias: false)"
    return None


def merged_state(state: dict[str, Tensor], architecture: Architecture) -> tuple[dict[str, Tensor], Architecture]:
    """The state dict and the architecture after merging; new tensors, the given ones stay."""
    state, stages = dict(state), list(architecture.stages)
    for i, stage in enumerate(stages):
        merged_mixer = row_of(stage).merges_into
        if merged_mixer is None or why_not(stage) is not None:
            continue
        if not stage.norm_bias:
            last_norm = ["head.norm"] if i == len(stages) - 1 and architecture.head_norm == "norm_pool" else []
            for prefix in [*_norms(state, f"stages.{i}."), *last_norm]:
                _add_bias(state, prefix)
        for j in range(stage.depth):
            _fold(state, f"stages.{i}.blocks.{j}")
        stages[i] = Stage.model_validate({**stage.model_dump(), "mixer": merged_mixer, "norm_bias": True})
    return state, Architecture(**{**architecture.model_dump(), "stages": stages})


def _fold(state: dict[str, Tensor], block: str) -> None:
    """`(s - 1) * (weight * n + bias) + b` is again a weight and a bias, for n the normed input and s, b the affine's."""
    s, b = (state.pop(f"{block}.token_mixer.affine.{name}").flatten() for name in ("weight", "bias"))  # (C,)
    state[f"{block}.norm1.weight"] = state[f"{block}.norm1.weight"] * (s - 1)
    state[f"{block}.norm1.bias"] = state[f"{block}.norm1.bias"] * (s - 1) + b


def _norms(state: dict[str, Tensor], stage: str) -> list[str]:
    keys = (key.removesuffix(".weight") for key in state if key.startswith(f"{stage}blocks."))
    return [key for key in keys if key.endswith((".norm1", ".norm2"))]


def _add_bias(state: dict[str, Tensor], batch_norm: str) -> None:
    """Gives a bias-free batch norm a bias of zero; its variance takes up that eps differs then."""
    state[f"{batch_norm}.bias"] = state[f"{batch_norm}.weight"].new_zeros(state[f"{batch_norm}.weight"].shape)
    state[f"{batch_norm}.running_var"] = state[f"{batch_norm}.running_var"] + EPS[False] - EPS[True]
