"""The verb that writes a search for somebody's own images."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.app import app, console, path_option
from nas.errors import ConfigError
from nas.terminal import command

if TYPE_CHECKING:
    from nas.recipes.proposal import ImageFacts

BASE = "hybrid"  # the space that is searched
LOOKED_AT = 200  # images whose size is read

_Hours = Annotated[float, typer.Option(help="About how long the search may take.", min=0.05)]
_Images = Annotated[str, typer.Option("--data", help="An image folder or a tar of one (train/, val/, or classes).")]


@app.command()
def init(
    data: _Images,
    out: Annotated[Path | None, path_option("--out", help="The YAML file to write.", show_default="NAME.yaml")] = None,
    hours: _Hours = 1.0,
) -> None:
    """Write a search for your own images: it looks at them and at this machine, and says why each setting is what it is.

    Example: `nas init --data photos --out photos.yaml`
    """
    from nas.files import at_home

    folder = Path(at_home(data))
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name.partition(".")[0]).strip("-._") or "mine"
    path = out or Path(f"{name}.yaml")
    if path.exists():
        raise ConfigError(f"{path}: exists, and is not written over. Choose another --out.")
    facts, remark = looked_over(folder)
    about = f"{facts.images:,} training images of {facts.classes} classes, about {facts.side} px a side{remark}"
    shown = console()
    shown.print(f"{folder}: {about}", soft_wrap=True)
    _write(path, facts, folder=folder, name=name, hours=hours, about=about)
    shown.print(f"{path}: a search of {BASE}'s space, each setting with its reason", soft_wrap=True)
    shown.print(f"Next, what it would take: {command('space', path)}", soft_wrap=True)
    shown.print(f"Then: {command('search', path)}", soft_wrap=True)


def _write(path: Path, facts: "ImageFacts", *, folder: Path, name: str, hours: float, about: str) -> None:
    """Write the proposal, which was read as a search before."""
    from nas.cores import num_cores
    from nas.files import write_whole
    from nas.recipes.proposal import in_yaml, proposal
    from nas.run.settings.search import read_search
    from nas.units import duration

    has_gpu, speed, macs_at = machine()
    settings = proposal(facts, hours=hours, workers=num_cores(), macs_at=macs_at, macs_a_second=speed, has_gpu=has_gpu)
    where = "a GPU" if has_gpu else f"{num_cores()} cores"
    head = [
        f"{about}.",
        f"Made for at most {duration(3600 * hours)} on {where}. Written by nas init: change what you know better.",
    ]
    text = in_yaml(settings, head=head, name=name, extends=BASE, data=str(folder.resolve()))
    with tempfile.TemporaryDirectory() as scratch:
        tried = Path(scratch) / "tried.yaml"
        tried.write_text(text, encoding="utf-8")
        read_search(tried)
    write_whole(path, text)


def looked_over(folder: Path) -> "tuple[ImageFacts, str]":
    """What the images of a folder are, and a remark on those passed over; ConfigError where they can't be searched on."""
    import numpy as np

    from nas.data.registry import is_folder, open_source
    from nas.recipes.proposal import ImageFacts

    if not is_folder(str(folder)):
        raise ConfigError(
            f"--data: must be a folder of images or a tar of one, but got {folder}. Its search is shipped: {BASE}."
        )
    source = open_source(str(folder))
    if len(source.train) < 2:
        raise ConfigError(f"{folder}: must have at least 2 classes, but has {len(source.train)}. Make a folder for each class.")
    share = 1.0 if source.test is not None else 0.8  # without a test split of its own a fifth is set aside
    numbers = [int(share * len(ids)) for ids in source.train.values()]
    every = [i for ids in source.train.values() for i in ids]
    sides = []
    for i in every[:: max(1, len(every) // LOOKED_AT)]:
        try:
            image, _ = source.read(source.place(i))
        except (OSError, ValueError):  # a broken one; the search says how many there are
            continue
        sides.append(min(image.size))
    if not sides:
        raise ConfigError(f"{folder}: none of the images that were tried can be read. Check them.")
    remark = f", {len(source.ignored)} files were passed over" if source.ignored else ""
    return ImageFacts(len(numbers), sum(numbers), min(numbers), int(np.median(sides))), remark


def machine() -> tuple[bool, float | None, Callable[[int], float]]:
    """Whether there is a GPU, else the speed of a core in MACs a second of training; and a typical network's MACs by size."""
    import random

    import torch

    from nas.recipes.proposal import WIDTHS
    from nas.run.settings.search import read_search
    from nas.search.forecast import training_speed
    from nas.space.constraints import random_architecture
    from nas.space.cost import cost

    widths = [f"space.stages.{number}.width={stage['width']}" for number, stage in WIDTHS.items()]
    search, rng = read_search(BASE, settings=["constraints.macs.max=1G", *widths]), random.Random(0)
    able = [a for a in (random_architecture(search.space, rng) for _ in range(200)) if search.constraints.allow(search.cost(a))]
    typical = sorted(able, key=lambda a: search.cost(a).macs)[len(able) // 2]

    def macs_at(size: int) -> float:
        return cost(typical, image_size=size, num_classes=search.space.num_classes).macs

    gpu = torch.cuda.is_available()
    return gpu, None if gpu else training_speed(search, typical), macs_at
