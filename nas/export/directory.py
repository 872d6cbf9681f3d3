"""A found model as a directory that timm loads: config.json, model.safetensors, a model card, at levels B and C model.py.

Nothing is written under its final name before a fresh process, in which this package cannot be imported, has loaded the
directory and computed the same logits.
"""

import glob
import json
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import save_file
from torch import Tensor, nn

from nas.config.text import read_json
from nas.errors import ConfigError, NasError, few
from nas.export.card import UNSTATED, card, checked_license, without_paths
from nas.export.formats.table import WRITERS, check_formats, write_formats
from nas.export.level import Level, level_of
from nas.export.proof import Seen, proof_logits, prove, refuse_unproven, rounding
from nas.export.stub import stub
from nas.files import writable
from nas.models.metaformer import MetaFormer, build
from nas.models.reparam import merge
from nas.models.size import check_buildable
from nas.models.timm_classes import StagewiseMetaFormer
from nas.models.weights import weights_digest
from nas.space.architecture import Architecture
from nas.space.cost import cost
from nas.space.mixers import MIXERS, positional

KEYS_SHOWN = 5  # keys named in a message
WRITTEN = {
    "config.json", "README.md", "model.safetensors", "model.py", "__pycache__", *(f for w in WRITERS.values() for f in w.files)
}  # fmt: skip


class Description(NamedTuple):
    """What weights don't tell: the classes, how images are made, where the weights come from, whose they are."""

    class_names: tuple[str, ...] | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    provenance: dict[str, Any]
    """JSON data; of it the model card shows accuracy (a fraction), split, image_size, data, recipe, run, trial, manifest, seed
    and versions."""
    crop_pct: float = 1.0
    interpolation: str = "bilinear"
    notes: tuple[str, ...] = ()
    """What a user of the network should know of the images that it was trained on."""
    bits: int = 8
    """Most bits of a channel in them."""
    white: int | None = None
    """The value that was white in them, where the recipe said so."""
    license: str = UNSTATED


class Prepared(NamedTuple):
    """All that a directory will hold, and the logits that timm must compute from it."""

    level: Level
    texts: dict[str, str]
    model: nn.Module
    logits: Tensor
    rounding: float
    """How far these logits are from those of the network found: 0 unless a norm was merged or an operator of ours is faster."""


def export_network(
    architecture: Architecture,
    state: dict[str, Tensor],
    out: Path,
    description: Description,
    *,
    image_size: int,
    num_classes: int,
    formats: Sequence[str] = (),
    force: bool = False,
    seen: Seen | None = None,
) -> Level:
    """Makes the directory `out`, which timm loads, and returns its level.

    NasError, and no directory, if timm would compute anything else than we do, or, where `seen` says how the network saw image
    files, make other pixels of them. `formats` are written beside timm's files; `force` replaces an earlier export.
    """
    out, formats = Path(out).absolute(), check_formats(formats)
    sweep(out)
    _check_target(out, force=force)
    prepared = drafted(architecture, state, description, image_size=image_size, num_classes=num_classes, formats=formats)

    def fill(draft: Path) -> None:
        write_export(prepared, draft)
        [proof] = prove({draft: prepared.logits}, seen=seen)
        refuse_unproven(proof)
        write_formats(prepared.model, formats, draft, image_size=image_size)

    replace_directory(out, fill)
    return prepared.level


def drafted(
    architecture: Architecture,
    state: dict[str, Tensor],
    description: Description,
    *,
    image_size: int,
    num_classes: int,
    formats: Sequence[str] = (),
) -> Prepared:
    """The directory's content at the highest level there is, every mixer merged that can be; NasError for what can't be."""
    names = description.class_names
    if names is not None and len(names) != num_classes:
        raise NasError(f"class_names must hold one name a class, {num_classes} in all, but got {len(names)}.")
    check_buildable(architecture, image_size=image_size, num_classes=num_classes, images=2)
    model = _with_weights(build(architecture, image_size=image_size, num_classes=num_classes), state, architecture)
    logits_before = proof_logits(model, image_size=image_size)
    model, merged = merge(model, architecture)
    level = level_of(merged)
    exported = model if level.letter == "C" else _in_timms_classes(model, merged)
    logits = proof_logits(exported, image_size=image_size)
    config = _config(merged, level, description, image_size=image_size, num_classes=num_classes)
    config["metaformer"]["weights"] = weights_digest(exported.state_dict())
    texts = {"config.json": _json(config), "README.md": card(merged, level, config, formats)}
    if level.letter != "A":
        texts["model.py"] = stub(merged, level)
    return Prepared(level, texts, exported, logits, rounding(logits_before, logits))


def _in_timms_classes(model: MetaFormer, architecture: Architecture) -> nn.Module:
    """The same weights, whose names are timm's from the start, in the classes that timm will load them into."""
    theirs = StagewiseMetaFormer(architecture, num_classes=model.num_classes)
    theirs.load_state_dict(model.state_dict())
    return theirs.eval()


def write_export(prepared: Prepared, directory: Path) -> None:
    """Writes timm's files into an existing directory."""
    for name, text in prepared.texts.items():
        (directory / name).write_text(text, encoding="utf-8")
    weights = {key: value.detach().cpu().contiguous() for key, value in prepared.model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    shutil.copymode(directory / "config.json", directory / "model.safetensors")  # safetensors leaves it to its owner alone


def _with_weights(model: MetaFormer, state: dict[str, Tensor], architecture: Architecture) -> MetaFormer:
    """The model with `state` in it, in eval mode; NasError says what does not fit."""
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in state.items()}
    differing = sorted(key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key])
    if ours.keys() == theirs.keys() and differing:
        _refuse_other_size(model, differing, ours, theirs, architecture)
    wrong = [
        *(f"{key} is missing" for key in ours.keys() - theirs.keys()),
        *(f"{key} is not in this architecture" for key in theirs.keys() - ours.keys()),
        *(f"{key} is {theirs[key]} instead of {ours[key]}" for key in differing),
    ]
    if wrong:
        raise NasError(
            f"the weights must be those of this architecture, but {few(sorted(wrong), most=KEYS_SHOWN, between='; ')}. "
            "Give the architecture, image size and classes that they were trained with."
        )
    model.load_state_dict(state)
    return model.float().eval()


def _refuse_other_size(
    model: MetaFormer, differing: list[str], ours: dict[str, tuple], theirs: dict[str, tuple], architecture: Architecture
) -> None:
    """NasError where nothing but the classes, or nothing but the resolution, is another."""
    if all(key.startswith("head.fc.") for key in differing):
        raise NasError(
            f"the weights must have a classifier of {model.num_classes} classes, as many as the data, but theirs has "
            f"{theirs[differing[0]][0]}. Give the data that they were trained on."
        )
    own = [f".token_mixer.{weight}" for name in positional() for weight in MIXERS[name].position_weights]
    if all(key.endswith((*own, ".position_embedding")) for key in differing):
        stages = [i for i, s in enumerate(architecture.stages, start=1) if s.holds_positions]
        raise NasError(
            f"a network with {', '.join(positional())} or embedded positions (here in stage {', '.join(map(str, stages))}) "
            f"takes the resolution that it was trained at only, but got {model.image_size} px: {differing[0]} would be "
            f"{ours[differing[0]]}, the weights have {theirs[differing[0]]}. Leave --image-size out, or retrain at that size."
        )


def _config(
    architecture: Architecture, level: Level, description: Description, *, image_size: int, num_classes: int
) -> dict[str, Any]:
    """What stands in config.json: timm's part, and ours under "metaformer"."""
    names = description.class_names
    own = {
        "level": level.letter,
        "architecture": architecture.model_dump(mode="json"),
        "cost": cost(architecture, image_size=image_size, num_classes=num_classes).by_name(),
        "provenance": without_paths(description.provenance),
        "images": {"notes": list(description.notes), "bits": description.bits, "white": description.white},
    }
    return {
        "architecture": level.entrypoint,
        "num_classes": num_classes,
        "num_features": architecture.stages[-1].width,
        "global_pool": "avg",
        **({"model_args": level.model_args} if level.model_args else {}),
        "pretrained_cfg": {
            "tag": "nas",
            "num_classes": num_classes,
            "input_size": [3, image_size, image_size],
            "fixed_input_size": architecture.needs_fixed_resolution,
            "mean": list(description.mean),
            "std": list(description.std),
            "crop_pct": description.crop_pct,
            "interpolation": description.interpolation,
            "first_conv": "stem.conv" if architecture.stem_steps == 1 else "stem.conv1",
            "classifier": "head.fc.fc2" if architecture.head == "mlp" else "head.fc",
            "license": checked_license(description.license),
        },
        **({"label_names": list(names)} if names is not None else {}),
        "metaformer": own,
    }


def _json(data: Any) -> str:
    try:
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise NasError(f"provenance must be JSON data, but {error}; write paths as text and leave NaN out.") from None


def _check_target(out: Path, *, force: bool) -> None:
    if not (out.exists() or out.is_symlink()):
        return
    odd = _not_exported(out)
    if not force:
        way_out = "choose another" if odd else "choose another, or replace it with --force"
        raise NasError(f"the directory to export to must be new, but {out} exists; {way_out}.")
    if odd:
        raise NasError(f"only an earlier export is replaced, but {out} {odd}; choose another directory.")


def _not_exported(out: Path) -> str:
    """What shows that a path is no earlier export and nothing else; empty where nothing does."""
    if out.is_symlink() or not out.is_dir():
        return "is no directory"
    try:
        if "metaformer" not in read_json(out / "config.json"):
            return "holds another config.json"
    except ConfigError:
        return "holds no config.json of an export"
    others = sorted({path.name for path in out.iterdir()} - WRITTEN)
    return f"also holds {others[0]}" if others else ""


def replace_directory(out: Path, fill: Callable[[Path], None]) -> None:
    """Has `fill` fill a directory beside `out`, which then takes the name `out`."""
    draft, old = (out.with_name(f".{out.name}.{platform.node()}.{os.getpid()}.{kind}") for kind in ("draft", "old"))
    with writable(out):
        draft.mkdir(parents=True)
        try:
            fill(draft)
            if out.exists():
                out.rename(old)
            draft.rename(out)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
            if old.exists():
                shutil.rmtree(old) if out.exists() else old.rename(out)


def sweep(out: Path) -> None:
    """Clears up after exports to `out` that were killed on this machine; an export that was being replaced comes back."""
    for remnant in out.parent.glob(f".{glob.escape(out.name)}.{platform.node()}.*"):
        _, number, kind = remnant.name.rsplit(".", 2)
        if not number.isdigit() or _is_running(int(number)):
            continue
        if kind == "old" and not out.exists():
            remnant.rename(out)
        else:
            shutil.rmtree(remnant)


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
