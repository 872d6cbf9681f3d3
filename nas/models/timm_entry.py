"""What timm calls to make a network of ours. The exporter copies this file into the models it writes."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from timm.models import build_model_with_cfg
from torch import Tensor, nn

if TYPE_CHECKING:
    from nas.space.architecture import Architecture


def made_by_timm(
    network: Callable[..., nn.Module], architecture: "Architecture", name: str, pretrained: bool, **kwargs: Any
) -> nn.Module:
    """The network `name` for timm's `create_model`, with weights or as maps of its stages where `kwargs` ask for them."""
    stages = tuple(range(len(architecture.stages)))
    return build_model_with_cfg(
        partial(network, architecture),
        name,
        pretrained,
        pretrained_filter_fn=of_these_positions,
        feature_cfg={"flatten_sequential": True, "out_indices": kwargs.pop("out_indices", stages)},
        **kwargs,
    )


def of_these_positions(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights as they are; ValueError where they belong to the positions of another image size than the model's."""
    stored = getattr(model, "pretrained_cfg", {})["input_size"][-1]
    if getattr(model, "fixed_resolution", False) and model.image_size != stored:
        raise ValueError(
            f"the weights belong to the positions of {stored} px images, but got img_size={model.image_size}; "
            "leave img_size out, or train anew with pretrained=False"
        )
    return state
