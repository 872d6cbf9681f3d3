"""Class folders on a disk, or in a tar, as a source of images."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from nas.data.archives import Span, open_archive
from nas.data.decoding import OnDecoded, Read
from nas.data.source import Ignored, Pool, Source, image_in
from nas.errors import ConfigError

TEST_FOLDERS = ("val", "validation", "test")
Files = dict[str, list[str]]  # by class folder, sorted


def open_class_folders(path: Path) -> Source:
    """Class folders at the top of `path`, or below train/ and val/; ids are paths from there."""
    return _arranged(path, partial(_files, path), partial(read_file, path))


def _arranged(
    where: Path,
    files: Callable[[str], Files | None],
    read: Read,
    ignored: Ignored = (),
    place: Callable[[str], Any] = str,
) -> Source:
    """Class folders at the top, or below train/ and val/; `files` lists those below a folder, None for one that isn't there."""
    train = files("train/")
    test_folder, test = next(((name, listed) for name in TEST_FOLDERS if (listed := files(f"{name}/")) is not None), ("", None))
    if test is not None and train is None:
        raise ConfigError(f"{where}: {test_folder}/ needs a train/ beside it. Add it, or name the folder of classes itself.")
    train_pool, odd = _images(files("") if train is None else train, where if train is None else where / "train")
    test_pool = None
    if test is not None:
        test_pool, odd_in_test = _images(test, where / test_folder)
        odd += odd_in_test
    ignored = tuple((name.encode("utf-8", "backslashreplace").decode(), why) for name, why in ignored + odd)
    return Source(train_pool, test_pool, read, ignored, place)


def _images(files: Files | None, where: Path) -> tuple[Pool, Ignored]:
    """What are images by their names, by class; and what are not, with the reason."""
    if not files:
        raise ConfigError(f"{where}: must hold one folder for each class. Put each class's images into a folder.")
    Image.init()
    odd = {name: why for names in files.values() for name in names if (why := _no_image(name))}
    pool = {folder: [name for name in names if name not in odd] for folder, names in files.items()}
    return pool, tuple(odd.items())


def _no_image(name: str) -> str:
    """Why a file can't be taken for an image; empty where it can."""
    if any("\ud800" <= letter <= "\udfff" for letter in name):  # how Python keeps bytes that it could not read
        return "its name is not UTF-8"
    return "" if os.path.splitext(name)[1].lower() in Image.EXTENSION else "no image by its file name"


def _files(root: Path, below: str) -> Files | None:
    """Files of each class folder in the folder `root/below`, as paths from `root`."""
    if not (root / below).is_dir():
        return None
    folders = sorted(p for p in (root / below).iterdir() if p.is_dir() and not p.name.startswith("."))
    return {
        folder.name: sorted(p.relative_to(root).as_posix() for p in folder.rglob("*") if p.is_file() and p.name[0] != ".")
        for folder in folders
    }


def read_file(root: Path, name: str) -> tuple[Image.Image, int]:
    """The image in the file `root/name`, not decoded yet, and a checksum of the file."""
    return image_in((root / name).read_bytes())


def open_tar(path: Path, on_decoded: OnDecoded) -> Source:
    """The same folders in a tar, at its top or in the one folder that holds everything; ids are as in that folder."""
    archive = open_archive(path, on_decoded)
    top = _top(archive.entries)
    return _arranged(
        path,
        partial(_members, archive.entries, top),
        partial(read_member, archive.plain),
        tuple((name.removeprefix(top), why) for name, why in archive.ignored),
        partial(_span, archive.entries, top),
    )


def _span(entries: Mapping[str, Span | None], top: str, name: str) -> Span | None:
    return entries.get(top + name)


def _top(entries: Iterable[str]) -> str:
    """The folder, with its slash, that holds all folders of a tar and is not one of its splits; empty without one."""
    tops = {name.partition("/")[0] for name in entries if not name.startswith(".")}
    top = f"{tops.pop()}/" if len(tops) == 1 else ""
    is_split = top.rstrip("/") in ("train", *TEST_FOLDERS)
    return top if not is_split and any("/" in name.removeprefix(top) for name in entries if name.startswith(top)) else ""


def _members(entries: Iterable[str], top: str, below: str) -> Files | None:
    """Files of each class folder in the folder `top/below` of a tar, as paths from `top`."""
    inside = [name.removeprefix(top) for name in entries if name.startswith(top + below)]
    files_of: Files = {}
    for name in sorted(inside):
        folder, slash, _ = name.removeprefix(below).partition("/")
        if slash and not folder.startswith("."):
            files, file = files_of.setdefault(folder, []), name.rpartition("/")[2]
            files += [name] if file and not file.startswith(".") else []
    return files_of if inside or not below else None


def read_member(tar: Path, span: Span | None) -> tuple[Image.Image, int]:
    """The image whose bytes lie there in a plain tar, not decoded yet, and a checksum of them."""
    if span is None:
        raise FileNotFoundError(f"no such file in {tar}")
    with tar.open("rb") as file:
        file.seek(span.offset)
        return image_in(file.read(span.size))
