"""How much of ours an exported network needs: the highest of three levels at which timm can hold an architecture.

A  one of timm's own entrypoints with JSON arguments: timm alone loads it.
B  timm's own classes under timm's key names: the directory brings a model.py that puts them together.
C  mixers of ours: model.py carries them.
"""

from typing import Any, Literal, NamedTuple

from nas.space.architecture import Architecture, Stage
from nas.space.mixers import MIXERS, row_of
from nas.space.reference import from_timm, timm_names

MEANING = {
    "A": "timm's own model with arguments, which timm alone loads",
    "B": "timm's own classes, put together by the file model.py, which imports torch and timm only",
    "C": "what timm lacks, carried by the file model.py, which imports torch and timm only",
}

# What timm's entrypoints leave to their caller (timm/models/metaformer.py); what they set themselves can't be given again.
V2 = {"pool_size", "mlp_bias", "layer_scale", "res_scale", "stem_norm"}
CONVFORMER = {"kernel_size", "expansion", "mlp_bias", "layer_scale", "res_scale", "stem_norm", "head"}
OPEN = {
    "poolformer": {"pool_size"},
    "poolformerv2": V2,
    "convformer": CONVFORMER,
    "caformer": CONVFORMER | {"head_dim", "proj_bias"},
}
TIMM_NAMES = {ours: theirs for mixer in MIXERS.values() for ours, theirs in (mixer.timm_options or {}).items()}


class Level(NamedTuple):
    """A level, the name under which timm makes the network there, and the arguments that this name is given."""

    letter: Literal["A", "B", "C"]
    entrypoint: str
    model_args: dict[str, Any]


def level_of(architecture: Architecture) -> Level:
    """The highest level for `architecture`; affine mixers that can be merged should have been."""
    for name in timm_names():
        arguments = _arguments(architecture, from_timm(name), OPEN[name.split("_")[0]])
        if arguments is not None:
            return Level("A", name, arguments)
    own = f"nas_{architecture.key}"
    timms = all(row_of(s).timm_options is not None and not s.position_embedding for s in architecture.stages)
    return Level("B" if timms else "C", own, {})


def _arguments(architecture: Architecture, timms: Architecture, open_: set[str]) -> dict[str, Any] | None:
    """What makes timm's network `timms` the same network as `architecture`; None if no JSON arguments do."""
    arguments = _network_arguments(architecture, timms, open_)
    for field in Stage.model_fields:
        ours, theirs = (tuple(getattr(stage, field) for stage in a.stages) for a in (architecture, timms))
        if field == "layer_scale" and field not in open_:  # loaded weights make up for where it starts
            ours, theirs = (tuple(value is None for value in values) for values in (ours, theirs))
        if ours == theirs:
            continue
        argument = _stage_argument(field, ours) if field in open_ else None
        if arguments is None or argument is None:
            return None
        arguments = {**arguments, **argument}
    return arguments


def _network_arguments(architecture: Architecture, timms: Architecture, open_: set[str]) -> dict[str, Any] | None:
    fields = [field for field in Architecture.model_fields if field != "stages"]
    differing = {field for field in fields if getattr(architecture, field) != getattr(timms, field)}
    arguments: dict[str, Any] = {}
    if "head" in differing & open_:
        arguments["use_mlp_head"] = architecture.head == "mlp"
    if {"stem_norm", "downsample_norm"} <= differing and "stem_norm" in open_:
        arguments["downsample_norm"] = None  # timm's one argument for both
        differing -= {"stem_norm", "downsample_norm"}
    return arguments if differing <= {"head"} & open_ else None


def _stage_argument(field: str, values: tuple) -> dict[str, Any] | None:
    """timm's argument for a field's values in all stages; None where timm takes one value and they differ."""
    if field == "layer_scale":
        return {"layer_scale_init_values": list(values)}
    if field == "res_scale":
        return {"res_scale_init_values": [1.0 if value else None for value in values]}
    used = {value for value in values if value is not None}
    if len(used) > 1:
        return None
    value = used.pop()
    if field == "kernel_size":
        return {"kernel_size": value, "padding": value // 2}
    return {TIMM_NAMES.get(field, field): value}
