"""The papers' designs that timm lacks, under timm's own roof: importing this file registers them.

    import timm, nas.models.timm_models
    net = timm.create_model("identityformer_s12", num_classes=10, img_size=160)

No name of timm's is taken. What is registered: identityformer_*, randformer_*, riformer_* (merged) and riformer_*_train,
PoolFormer with its paper's head as poolformer_*_paper (timm's poolformer_* have another), metaformer_ablation_*.
"""

from collections.abc import Callable, Sequence
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import generate_default_cfgs, is_model, register_model
from timm.models._builder import resolve_pretrained_cfg
from torch import nn

from nas.errors import NasError
from nas.models.metaformer import MetaFormer, network_for_timm, square_side
from nas.models.timm_entry import made_by_timm
from nas.space.architecture import Architecture
from nas.space.cost import feature_sides
from nas.space.reference import IMAGENET_CLASSES, IMAGENET_PIXELS, designs, timm_names


def timm_name(design: str) -> str:
    """The name under which timm makes the network of a design."""
    if design.startswith("ablation_"):
        return f"metaformer_{design}"
    if design.endswith("_timm"):
        return design.removesuffix("_timm")
    return f"{design}_paper" if f"{design}_timm" in designs() else design


def _network(architecture: Architecture, *, img_size: int | Sequence[int] = IMAGENET_PIXELS, **kwargs: Any) -> MetaFormer:
    feature_sides(architecture, image_size=square_side(img_size))  # the one check of a resolution that is too small
    return network_for_timm(architecture, img_size=img_size, **kwargs)


def _config(architecture: Architecture) -> dict:
    """What timm keeps about a model: how its images are made, what its first and last layers are called."""
    small = architecture.stages[-1].width <= 512
    crop = 1.0 if architecture.stem_norm else 0.9 if small else 0.95  # timm's for Baselines, PoolFormer-S, PoolFormer-M
    return {
        "num_classes": IMAGENET_CLASSES,
        "input_size": (3, IMAGENET_PIXELS, IMAGENET_PIXELS),
        "fixed_input_size": architecture.needs_fixed_resolution,
        "pool_size": (7, 7),
        "crop_pct": crop,
        "interpolation": "bicubic",
        "mean": IMAGENET_DEFAULT_MEAN,
        "std": IMAGENET_DEFAULT_STD,
        "first_conv": "stem.conv",
        "classifier": "head.fc.fc2" if architecture.head == "mlp" else "head.fc",
    }


def _entrypoint(name: str, architecture: Architecture) -> Callable[..., nn.Module]:
    """What timm calls to make `name`."""

    def entrypoint(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        asked = resolve_pretrained_cfg(name, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay"))
        if pretrained and not (asked.has_weights or asked.state_dict):
            raise NasError(
                f"no weights of {name} are published here, but got pretrained=True. Leave it out, or name a file: "
                "checkpoint_path='model.safetensors'."
            )
        return made_by_timm(_network, architecture, name, pretrained, **kwargs)

    entrypoint.__name__ = entrypoint.__qualname__ = name
    entrypoint.__doc__ = f"{architecture.describe()}."
    return entrypoint


REGISTERED = {timm_name(name): architecture for name, architecture in designs().items() if timm_name(name) not in timm_names()}
default_cfgs = generate_default_cfgs({name: _config(architecture) for name, architecture in REGISTERED.items()})
for _name, _architecture in REGISTERED.items():
    if not is_model(_name):  # a later timm may know it; then its own stays
        register_model(_entrypoint(_name, _architecture))
