"""Weights on disk as a network: a folder of `nas retrain` or `nas export`, an architecture with a file, a timm model.

Nothing is downloaded. What is missing is a ConfigError that says where to get it.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import timm
from huggingface_hub import constants, try_to_load_from_cache
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from nas.config.text import read_json
from nas.config.values import broken, validated
from nas.data.manifest import MEAN, STD, read_manifest
from nas.errors import ConfigError, in_one_line, unknown
from nas.models.metaformer import MetaFormer, build
from nas.models.size import check_buildable
from nas.models.weights import Content, content_of, weights_digest, why_refused
from nas.recipes.full import read_full_recipe
from nas.recipes.recipe import Side
from nas.space.architecture import Architecture, read_architecture
from nas.space.cost import cost
from nas.space.mixers import positional
from nas.space.plugins.plugin import PLUGINS
from nas.space.reference import designs

TIMM_PREFIX = "timm/"
_Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
_Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
CACHED_NAMES = ("model.safetensors", "pytorch_model.bin")


class Network(NamedTuple):
    """A network with its weights, in eval mode, and the images that it was trained on."""

    model: nn.Module
    image_size: int
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    class_names: tuple[str, ...] | None = None
    class_ids: tuple[str, ...] | None = None
    """WordNet's, such as n01440764, which ImageNet's folders are called by, where the names are readable ones."""
    key: str = ""
    """What it computes with its weights: its architecture's key, or timm's name of it."""


def load_network(name: str, *, weights: str | None, image_size: int, num_classes: int) -> Network:
    """The network of that name; ConfigError where it or its weights can't be found, or don't belong together.

    A folder that `nas retrain` or `nas export` wrote holds its weights; a name of timm's, with timm/ before it where a design
    of ours has it too, takes `weights` or else what lies in the Hugging Face cache; a design of ours or an architecture .json
    takes `weights`, and is built for `image_size`.
    `num_classes` are those that a timm model is given for a `weights` of one's own.
    """
    if name.startswith(TIMM_PREFIX):
        return timm_network(name.removeprefix(TIMM_PREFIX), weights=weights, num_classes=num_classes)
    if Path(name).is_dir():
        if weights is not None:
            raise ConfigError(f"{name}: a folder holds its own weights, but got weights={weights} as well. Leave them out.")
        return folder_network(Path(name))
    if name not in designs() and timm.is_model(name):
        return timm_network(name, weights=weights, num_classes=num_classes)
    architecture = _architecture(name)
    if weights is None:
        raise ConfigError(f"{name}: names an architecture without weights. Add weights: FILE.safetensors.")
    return Network(own_network(architecture, Path(weights), image_size=image_size), image_size, key=architecture.key)


def _architecture(name: str) -> Architecture:
    if name in designs():
        return designs()[name]
    if name.endswith(".json"):
        return read_architecture(Path(name))
    raise ConfigError(
        "must be a folder of `nas retrain` or `nas export`, a design of ours, an architecture .json or a model of timm's, but "
        f"got {name}. {unknown('design', name, designs())}"
    )


def folder_network(root: Path) -> Network:
    """The network that `nas retrain` or `nas export` left in `root`."""
    if (root / "config.json").is_file():
        return _exported(root)
    if (root / "result.json").is_file():
        return _retrained(root)
    raise ConfigError(
        f"{root}: must hold what `nas retrain` (result.json) or `nas export` (config.json) wrote, but has neither. "
        "Finish the training, or choose another folder."
    )


def _refuse_plugins(written: dict[str, Any], path: Path) -> None:
    """ConfigError for the export of a network with a plugin's mixer, whose code lies in its model.py, and is not run here."""
    try:
        stages = [dict(stage) for stage in written["metaformer"]["architecture"]["stages"]]
    except (TypeError, KeyError, ValueError):
        return  # which is refused for what it is
    for stage in stages:
        if isinstance(digest := stage.get("plugin"), str) and digest not in PLUGINS:
            raise ConfigError(
                f"{path}: has {stage.get('mixer')}, the mixer of a plugin, whose code an export carries for timm alone. Name "
                "the network in its run (RUN:NUMBER), or the folder of its retraining."
            )


def _exported(root: Path) -> Network:
    path = root / "config.json"
    written = read_json(path)
    if "metaformer" not in written:
        raise ConfigError(f"{path}: must be written by `nas export`, but names no architecture. Choose another folder.")
    _refuse_plugins(written, path)
    config = validated(_Config, written, where=str(path))
    images, own = config.pretrained_cfg, config.metaformer
    size = images.input_size[-1]
    model = own_network(own.architecture, root / "model.safetensors", image_size=size, num_classes=config.num_classes)
    spent = cost(own.architecture, image_size=size, num_classes=model.num_classes).by_name()
    if wrong := [name for name, value in own.cost.items() if spent.get(name, value) != value]:
        raise ConfigError(
            f"{path}: metaformer.cost.{wrong[0]}: must be what the architecture costs, {spent[wrong[0]]:,}, but got "
            f"{own.cost[wrong[0]]:,}. Export the network again."
        )
    if own.weights is not None and own.weights != weights_digest(read_weights(root / "model.safetensors")):
        raise ConfigError(
            f"{root / 'model.safetensors'}: must hold the weights that were exported, of which {path} keeps a checksum "
            f"(metaformer.weights, {own.weights}), but holds others. Export the network again; if the change is meant, take "
            "that line out."
        )
    return Network(
        model, image_size=size, mean=images.mean, std=images.std, class_names=config.label_names, key=own.architecture.key
    )


class _Written(BaseModel):
    """Of what an export's config.json says, that which a network is made of; the rest is timm's."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())


class _Images(_Written):
    input_size: tuple[Literal[3], Side, Side]
    mean: tuple[_Finite, _Finite, _Finite]
    std: tuple[_Positive, _Positive, _Positive]


class _Own(_Written):
    architecture: Architecture
    cost: dict[str, int] = {}
    weights: str | None = None


class _Config(_Written):
    num_classes: Annotated[int, Field(strict=True, ge=0)] | None = None
    pretrained_cfg: _Images
    metaformer: _Own
    label_names: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _a_name_a_class(self) -> "_Config":
        names, number = self.label_names, self.num_classes
        if names is not None and number is not None and len(names) != number:
            rule = f"must be one name a class, {number} in all, but got {len(names)}"
            raise broken("label_names", f"{rule}; export the network again")
        return self


def _retrained(root: Path) -> Network:
    recipe = read_full_recipe(root / "recipe.yaml")
    architecture = read_architecture(root / "architecture.json")
    model = own_network(architecture, root / "model.safetensors", image_size=recipe.full_size)
    class_names = read_manifest(root / "manifest.json").class_names
    return Network(model, recipe.full_size, class_names=class_names, key=architecture.key)


def own_network(architecture: Architecture, weights: Path, *, image_size: int, num_classes: int | None = None) -> MetaFormer:
    """Our network with the weights in a safetensors file, which says how many classes there are where nobody else does."""
    state = read_weights(weights)
    classifier = state.get("head.fc.fc2.weight", state.get("head.fc.weight"))
    if num_classes is None:
        num_classes = 0 if classifier is None or not classifier.dim() else len(classifier)
    check_buildable(architecture, image_size=image_size, num_classes=num_classes)
    if odd := [key for key, tensor in state.items() if tensor.is_floating_point() and not tensor.isfinite().all()]:
        raise ConfigError(f"{weights}: must hold finite numbers, but {min(odd)} holds others. Copy the file again.")
    model = build(architecture, image_size=image_size, num_classes=num_classes)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:  # torch names the keys and shapes
        raise ConfigError(
            f"{weights}: must hold the weights of {architecture.describe()} at {image_size} px, but: {in_one_line(error)}"
        ) from None
    return model.eval()


def load_initial(model: nn.Module, name: str) -> None:
    """Gives a network the weights that a full training starts from: those in a folder of ours, or in a safetensors file.

    A classifier of another shape keeps its fresh weights; ConfigError where anything else doesn't fit.
    """
    path = Path(name) / "model.safetensors" if Path(name).is_dir() else Path(name)
    tensors, own = read_weights(path), model.state_dict()
    anew = [key for key in own if key.startswith("head.fc.") and (key not in tensors or tensors[key].shape != own[key].shape)]
    tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith("head.fc.") or key in {*own} - {*anew}}
    odd = [key for key in own.keys() | tensors.keys() if key not in anew and _shape(own, key) != _shape(tensors, key)]
    if odd and getattr(model, "fixed_resolution", False):
        raise ConfigError(
            f"weights: {path} must be of the same image size, because {', '.join(positional())} and position_embedding hold a "
            f"weight for each position, but {min(odd)} is {_shape(tensors, min(odd))} there and {_shape(own, min(odd))} at "
            f"{model.image_size} px. Train at the size of these weights, or choose a design without such mixers."
        )
    if odd:
        raise ConfigError(
            f"weights: {path} must hold the weights of this architecture, but {len(odd)} do not fit, such as {min(odd)}: "
            f"{_shape(tensors, min(odd))} there, {_shape(own, min(odd))} here. Choose the file that belongs to it."
        )
    model.load_state_dict({**own, **tensors})


def _shape(tensors: dict[str, Tensor], key: str) -> str:
    return "x".join(map(str, tensors[key].shape)) or "one number" if key in tensors else "missing"


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; ConfigError where it is missing or is none. A pickle is never opened as one."""
    content = _readable_content(path)
    if content is not Content.SAFETENSORS:
        raise ConfigError(f"{path}: must be a safetensors file of weights, but {why_refused(path, content)}")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        why = in_one_line(error).rstrip(".")
        raise ConfigError(f"{path}: must be a whole safetensors file, but {why}. Copy it again.") from None


def _readable_content(path: Path) -> Content:
    try:
        return content_of(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: must be a file that can be read, but {in_one_line(error)}. Check its permissions."
        ) from None


def timm_network(name: str, *, weights: str | None = None, num_classes: int | None = None) -> Network:
    """timm's model of that name with the weights in a file (for as many classes as it holds, else `num_classes`), or those in
    the Hugging Face cache."""
    if not timm.is_model(name):
        raise ConfigError(unknown("timm model", name, timm.list_models()))
    model, dot, _ = name.partition(".")
    if dot and name not in (tagged := timm.list_pretrained(f"{model}.*")):
        raise ConfigError(unknown("weights of timm's", name, tagged))
    file = weights or cached_weights(name)
    if file is None or not Path(file).is_file():
        fetch = f"python -c \"import timm; timm.create_model('{name}', pretrained=True)\""
        raise ConfigError(
            f"{TIMM_PREFIX}{name}: its weights must lie on this machine, because nothing is downloaded, but "
            f"{f'{file} is no file' if file else f'{constants.HF_HUB_CACHE} has none'}. "
            f"Fetch them where there is a network ({fetch}), or name a file of them (weights)."
        )
    _check_for_timm(Path(file))
    try:
        classes = {"num_classes": _classes_in(Path(file), name) or num_classes} if weights else {}
        overlay = {"file": str(file), **classes}
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **classes)
    except Exception as error:  # timm has no exception of its own for a file that does not fit or can't be read
        raise ConfigError(f"{file}: must hold the weights of timm's {name}, but: {in_one_line(error)}") from None
    return as_described_by_timm(model)._replace(key=name.partition(".")[0])


def _classes_in(file: Path, name: str) -> int | None:
    """How many classes the weights in a file are for, where they hold timm's classifier of that model."""
    config = timm.get_pretrained_cfg(name)
    classifier = config.classifier if config is not None else None
    if not isinstance(classifier, str):
        return None
    weight = timm.models.load_state_dict(str(file), weights_only=True).get(f"{classifier}.weight")
    return None if weight is None else len(weight)


def _check_for_timm(file: Path) -> None:
    """ConfigError for what timm can't read: it goes by the ending, and reads pickles without running what is in them."""
    content, safe_ending = _readable_content(file), file.suffix == ".safetensors"
    if content in (Content.SAFETENSORS, Content.PICKLE):
        if safe_ending != (content is Content.SAFETENSORS):
            name = file.with_suffix(".pth" if safe_ending else ".safetensors").name
            raise ConfigError(
                f"{file}: must end as what it is, because timm goes by that, but it is a {content.name.lower()} file. "
                f"Rename it to {name}."
            )
    elif safe_ending or content is not Content.UNKNOWN:
        raise ConfigError(f"{file}: must hold weights, but {why_refused(file, content)}")


def as_described_by_timm(model: nn.Module) -> Network:
    """A timm model with what it says itself about its images and classes."""
    images = timm.data.resolve_data_config(model=model)
    names = ids = None
    if model.num_classes == 1000:
        imagenet = timm.data.ImageNetInfo()
        names, ids = (tuple(map(of, range(1000))) for of in (imagenet.index_to_description, imagenet.index_to_label_name))
    return Network(model.eval(), images["input_size"][-1], tuple(images["mean"]), tuple(images["std"]), names, ids)


def cached_weights(name: str) -> str | None:
    """The file of timm's own weights of that name in the Hugging Face cache, or None."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None
    names = (config.hf_hub_filename,) if config.hf_hub_filename else CACHED_NAMES
    paths = (try_to_load_from_cache(config.hf_hub_id, file) for file in names)
    return next((path for path in paths if isinstance(path, str)), None)
