"""The model card of an exported directory: what the network is and costs, how to load it, how it was trained, whose it is."""

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any

from nas.config.text import dump_yaml
from nas.errors import ConfigError
from nas.export.formats.table import writer_of
from nas.export.level import MEANING, Level
from nas.export.preprocessing import LABEL_USAGE, TORCH_USAGE, pixels_code
from nas.models.reparam import why_not
from nas.space.architecture import Architecture, Stage
from nas.space.mixers import row_of
from nas.terminal import printable
from nas.units import count, percent

UNSTATED = "unknown"  # the Hugging Face hub's own word for a licence that nobody named

CARD = """\
---
library_name: timm
license: {license}
tags: [image-classification, timm, metaformer, neural-architecture-search]
---
# {name}

{description} (a letter for the mixer, depth and width of each stage), {image} px, {classes} classes.

{facts}

## How to load it

Level {letter}: {meaning}.

```python
{loading}
```

`num_classes=7` gives the network a fresh classifier; {features}
Images are scaled {interpolation}ly, a share of {crop_pct:g} of the shorter side is cut from the middle, and their colours are
brought to mean {mean} and deviation {std}, as `timm.data.create_transform(**timm.data.resolve_data_config(model=net))` does: a
fresh process made the same pixels of image files as those that the network was judged by.{preparation}

The same in numbers, for programs without timm; the files are those of this folder. {classes_named}

```python
{pixels}
```

{usages}{labels}

## Architecture

{stages}

config.json holds every setting under `metaformer.architecture`. Weights are float32.

## Training

{training}

## Provenance

{provenance}
"""
TIMMS_LOADING = """\
import timm
net = timm.create_model("local-dir:.", pretrained=True)  # "." is where this file lies; or hf-hub:ORG/NAME"""
STUB_LOADING = """\
import importlib.util, sys, timm
folder = "."  # where this file lies; or huggingface_hub.snapshot_download("ORG/NAME")
spec = importlib.util.spec_from_file_location("{name}", f"{{folder}}/model.py")
sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)  # registers {name} with timm
net = timm.create_model(f"local-dir:{{folder}}", pretrained=True)"""


PREPARATION = """
timm's loaders do not scale images of more than 8 bits, nor to another white: bring them to 8 bits first.

```python
import numpy as np
from PIL import Image

image = Image.open("scan.png")
scaled = np.clip(np.asarray(image, dtype=np.float64) * 255 / {white}, 0, 255)  # {white} was white in training
image = Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
```"""


def card(architecture: Architecture, level: Level, config: dict[str, Any], formats: Sequence[str]) -> str:
    """The model card; `formats` are those beside timm's own."""
    settings = config["pretrained_cfg"]
    size = settings["input_size"][-1]
    any_size = (
        f"`features_only=True` the maps of its stages{'.' if settings['fixed_input_size'] else ', for images of any size.'}"
    )
    return CARD.format(
        name=config["architecture"],
        license=settings["license"],
        description=architecture.describe(),
        image=f"{size}x{size}",
        classes=config["num_classes"],
        facts="\n".join(_facts(architecture, config, formats)),
        letter=level.letter,
        meaning=MEANING[level.letter],
        loading=TIMMS_LOADING if level.letter == "A" else STUB_LOADING.format(name=level.entrypoint),
        features=any_size,
        interpolation={"bilinear": "bilinear", "bicubic": "bicubical"}[settings["interpolation"]],
        crop_pct=settings["crop_pct"],
        preparation=_preparation(config["metaformer"]["images"]),
        pixels=pixels_code(settings),
        **_labels(config),
        usages=_usages(formats),
        mean=tuple(settings["mean"]),
        std=tuple(settings["std"]),
        stages=_stages(architecture),
        training=_training(config["metaformer"]["provenance"]),
        provenance=_provenance(config["metaformer"]["provenance"]),
    )


def _labels(config: dict[str, Any]) -> dict[str, str]:
    """From logits to what is shown, as far as the classes have names."""
    if "label_names" not in config:
        return {"classes_named": "The class is the number `logits.argmax()`; no class has a name here.", "labels": ""}
    code = f"\n\nFrom the logits to the label:\n\n```python\n{LABEL_USAGE}\n```"
    return {"classes_named": "The label is the name of the class of the largest logit.", "labels": code}


def _usages(formats: Sequence[str]) -> str:
    """How torch and each format's runtime are asked."""
    codes = {"torch": TORCH_USAGE} | {writer_of(name).files[0]: writer_of(name).usage for name in formats}
    return "\n\n".join(f"{name}:\n\n```python\n{code}\n```" for name, code in codes.items())


def _facts(architecture: Architecture, config: dict[str, Any], formats: Sequence[str]) -> list[str]:
    spent, came_from = config["metaformer"]["cost"], config["metaformer"]["provenance"]
    size = config["pretrained_cfg"]["input_size"][-1]
    frozen = f" ({count(spent['frozen_params'])} of them frozen)" if spent["frozen_params"] else ""
    facts = [
        f"- {count(spent['params'] + spent['frozen_params'])} parameters{frozen}; an image takes {count(spent['macs'])} "
        f"multiply-accumulates at {size} px and {config['num_classes']:,} classes, and "
        f"{count(spent['activation_bytes'])}B of activations where an ideal compiler runs it"
    ]
    accuracy = came_from.get("accuracy")
    if isinstance(accuracy, int | float):
        trained_at = came_from.get("image_size")
        where = f", at {trained_at} px" if trained_at not in (None, size) else ""
        facts.append(
            f"- top-1 accuracy {percent(accuracy)} on {in_markdown(came_from.get('split', 'an unnamed split'))}{where}"
        )
    facts += [
        f"- the {stage.mixer} mixers of stage {i} are not merged: {why_not(stage)}"
        for i, stage in enumerate(architecture.stages, start=1)
        if row_of(stage).merges_into is not None
    ]
    return facts + [f"- {', '.join(writer_of(name).files)}: {writer_of(name).about}" for name in formats]


def _preparation(images: dict[str, Any]) -> str:
    """What has to be done to image files before timm reads them; empty where nothing has."""
    notes = "".join(f"\n- {in_markdown(note)}" for note in images["notes"])
    notes = f"\n\nOf the images that it was trained on:\n{notes}" if notes else ""
    if images["bits"] <= 8 and images["white"] is None:
        return notes
    white = images["white"] or 2 ** images["bits"] - 1 if images["bits"] <= 16 else images["white"] or 65_535
    return f"{notes}\n{PREPARATION.format(white=white)}"


def _stages(architecture: Architecture) -> str:
    rows = ["| stage | mixer | blocks | width | MLP ratio | activation | norm |", "|---|---|---|---|---|---|---|"]
    for i, s in enumerate(architecture.stages, start=1):
        mlp = f"{s.mlp_ratio:g}, with a convolution" if s.mlp == "conv" else f"{s.mlp_ratio:g}"
        rows.append(f"| {i} | {_mixer(s)} | {s.depth} | {s.width} | {mlp} | {s.activation} | {s.norm} |")
    return "\n".join(rows)


def _mixer(stage: Stage) -> str:
    options = [f"{name} {stage.option(name)}" for name in row_of(stage).options]
    options += [f"squeeze-and-excitation {stage.se_ratio:g}"] if stage.se_ratio else []
    return f"{stage.mixer} ({', '.join(options)})" if options else stage.mixer


def _training(provenance: dict[str, Any]) -> str:
    recipe = provenance.get("recipe")
    if not isinstance(recipe, dict):
        return "The recipe is not known."
    data = provenance.get("data") or recipe.get("data") or "not named"
    settings = dump_yaml({name: value for name, value in recipe.items() if value is not None}).strip()
    fence = "`" * (1 + max([2, *map(len, re.findall("`+", settings))]))  # longer than any in it, which would end it
    return f"Data: {in_markdown(data)}.\n\n{fence}yaml\n{settings}\n{fence}"


def _provenance(provenance: dict[str, Any]) -> str:
    words = {
        "run": "run",
        "trial": "trial",
        "counted": "in the search's tables",
        "manifest": "manifest of the images, hash",
        "seed": "seed",
    }
    lines = [f"- {word}: {in_markdown(provenance[name])}" for name, word in words.items() if name in provenance]
    versions = provenance.get("versions")
    if versions and isinstance(versions, dict):
        lines.append(f"- versions: {in_markdown(', '.join(f'{name} {version}' for name, version in versions.items()))}")
    return "\n".join(lines) or "Not known."


def in_markdown(value: Any) -> str:
    """A value from outside as Markdown shows it letter by letter, in one line: neither markup nor HTML."""
    text = " ".join(printable(str(value)).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|#~$!])|(?<!\w)_|_(?!\w)", lambda match: f"\\{match[0]}", text)


def without_paths(data: Any) -> Any:
    """JSON data in which a path of the machine that wrote it is its last name: exports are given away."""
    if isinstance(data, dict):
        return {key: without_paths(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [without_paths(value) for value in data]
    return PurePath(data).name if isinstance(data, str) and PurePath(data).is_absolute() else data


def checked_license(name: str) -> str:
    """The licence's identifier; ConfigError where it can't stand in a card's header."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", name):
        raise ConfigError(f"--license must be an identifier such as apache-2.0 or cc-by-nc-4.0, but got {name!r}.")
    return name.lower()
