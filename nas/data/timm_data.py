"""timm's data sets by their names (torch/..., hfds/..., wds/...) as sources of images; nothing is downloaded."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, NamedTuple

from PIL import Image

from nas.data.archives import Span, open_archive
from nas.data.class_folders import read_member
from nas.data.decoding import OnDecoded
from nas.data.source import Pool, Source, checksum_of, forget_commands, image_in
from nas.errors import ConfigError, in_one_line

TIMM_PACKAGES = {"torch/": "torchvision", "hfds/": "datasets", "wds/": "webdataset"}
"""By prefix, the package that timm reads such data sets with."""
TEST_SPLITS = ("validation", "val", "test")


def open_timm(data: str, *, root: Path, on_decoded: OnDecoded) -> Source:
    """The data set of that name, which lies under `root`; ConfigError where it doesn't, or where its package is absent."""
    package = next(package for prefix, package in TIMM_PACKAGES.items() if data.startswith(prefix))
    if find_spec(package) is None:
        raise ConfigError(
            f"data={data} is read by the package {package}, which is not installed. Install it with: pip install {package}"
        )
    forget_commands()
    train, test = (_first_split(data, names, root) for names in (("train",), TEST_SPLITS))
    return _shards(train, test, root, on_decoded) if data.startswith("wds/") else _numbered(train, test)


def _first_split(data: str, names: tuple[str, ...], root: Path) -> Any:
    """timm's reader, or torchvision's data set, of the first split that is there."""
    from timm.data import create_dataset

    why = {}
    for name in names:
        try:
            with _offline() if data.startswith("hfds/") else nullcontext():
                dataset = create_dataset(data, root=str(root), split=name, download=False)
            return getattr(dataset, "reader", dataset)  # timm's own data set would put the next image in a broken one's place
        except Exception as error:  # each of timm's backends has its own way to say that data is missing
            why[name] = in_one_line(error)
    first, *others = names
    raise ConfigError(
        f"data={data} must lie under {root} already, because nothing is downloaded, but its {first} split can't be opened"
        f"{''.join(f', nor {name}' for name in others)}: {why[first]}. Put it there, or set NAS_DATA to its folder."
    )


@contextmanager
def _offline() -> Iterator[None]:
    """Keeps Hugging Face's libraries off the network; the variable for it is read when they are imported, long before this."""
    from datasets import config
    from huggingface_hub import constants

    before = config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


# Data sets with numbered images


def _numbered(train: Any, test: Any) -> Source:
    """Ids such as train:17."""
    read = partial(_read_numbered, {"train": train, "test": test})
    return Source(_by_class(train, "train"), _by_class(test, "test"), read)


def _read_numbered(splits: dict[str, Any], name: str) -> tuple[Image.Image, int]:
    split, number = name.split(":")
    image = splits[split][int(number)][0]
    if isinstance(image, Image.Image):
        return image, checksum_of(image.tobytes())
    with image:  # a file, or bytes like one
        return image_in(image.read())


def _by_class(dataset: Any, split: str) -> Pool:
    """Ids by class; labels are taken without decoding an image where the data set lists them."""
    if hasattr(dataset, "iter_targets"):
        labels = list(dataset.iter_targets())
    else:
        labels = getattr(dataset, "targets", None) or [label for _, label in dataset]
    indices = getattr(dataset, "class_to_idx", None) or {str(label): label for label in sorted(set(map(int, labels)))}
    pool: dict[str, list[str]] = {str(name): [] for name in indices}
    names = {index: str(name) for name, index in indices.items()}
    for number, label in enumerate(labels):
        pool[names[int(label)]].append(f"{split}:{number}")
    return pool


# Shards


class Sample(NamedTuple):
    """An image in a shard."""

    name: str
    """Its id, such as train-0.tar/00017.jpg."""
    tar: Path
    span: Span | None
    label: int | None
    """None where it can't be used."""
    why: str = ""
    """What it lacks."""


def _shards(train: Any, test: Any, root: Path, on_decoded: OnDecoded) -> Source:
    """Images in tars, each beside its label. timm's readers say in which; they would read them from start to end only."""
    train_samples, test_samples = (list(_samples(reader, root, on_decoded)) for reader in (train, test))
    samples = train_samples + test_samples
    places = {sample.name: (sample.tar, sample.span) for sample in samples}
    ignored = tuple((sample.name, sample.why) for sample in samples if sample.label is None)
    return Source(_by_label(train_samples), _by_label(test_samples), partial(read_placed, root), ignored, places.get)


def _by_label(samples: list[Sample]) -> Pool:
    labels = sorted({sample.label for sample in samples if sample.label is not None})
    pool: dict[str, list[str]] = {str(label): [] for label in labels}
    for sample in samples:
        if sample.label is not None:
            pool[str(sample.label)].append(sample.name)
    return pool


def read_placed(root: Path, place: tuple[Path, Span | None] | None) -> tuple[Image.Image, int]:
    """The image at a place in a shard, not decoded yet, and a checksum of its bytes."""
    if place is None:
        raise FileNotFoundError(f"no such image in the shards under {root}")
    tar, span = place
    return read_member(tar, span)


def _samples(reader: Any, root: Path, on_decoded: OnDecoded) -> Iterator[Sample]:
    for shard in reader.split_info.filenames:
        archive = open_archive(root / shard, on_decoded)
        with archive.plain.open("rb") as file:
            for key, parts in _parts(archive.entries).items():
                ending = next((ending for ending in reader.input_key.split(";") if ending in parts), None)
                name, span = f"{shard}/{key}.{ending or '*'}", None if ending is None else parts[ending]
                label, why = _label(parts, file, reader.split_info.alt_label) if span else (None, "no image beside its label")
                yield Sample(name, archive.plain, span, label, why)


def _parts(entries: dict[str, Span | None]) -> dict[str, dict[str, Span]]:
    """By what webdataset calls a key, the files of a sample by their endings."""
    from webdataset.tariterators import base_plus_ext

    parts: dict[str, dict[str, Span]] = {}
    for name, span in entries.items():
        key, ending = base_plus_ext(name)
        if key and span is not None:
            parts.setdefault(key, {})[ending.lower()] = span
    return parts


def _label(parts: dict[str, Span], file: IO[bytes], field: str) -> tuple[int | None, str]:
    """What stands in the sample's .cls file, or in that field of its .json file; and why there is none."""
    ending = "json" if field else "cls"
    if ending not in parts:
        return None, f"no .{ending} file beside the image"
    file.seek(parts[ending].offset)
    content = file.read(parts[ending].size)
    try:
        label = int(json.loads(content)[field] if field else content)
    except (ValueError, TypeError, KeyError):
        return None, f"no label in its .{ending} file"
    return (label, "") if label >= 0 else (None, f"its label is {label}")
