"""Class folders on a disk, or in a tar, as a source of images."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from nas.data.archives import Span, open_archive
from nas.data.decoding import OnDecoded, Read
from nas.data.layout import arranged, is_junk, plain_name, plain_names
from nas.data.source import Ignored, Source, image_in
from nas.errors import ConfigError

FolderIdentity = tuple[int, int]  # device and number of a folder, whatever it is called


def open_class_folders(path: Path) -> Source:
    """Class folders at the top of `path`, or below train/ and val/; ids are paths from there."""
    names, ignored = _listed(path)
    return _source(names, path, partial(read_file, path), ignored)


def open_tar(path: Path, on_decoded: OnDecoded) -> Source:
    """The same folders in a tar; ids are as in the folder that holds everything."""
    archive = open_archive(path, on_decoded)
    return _source(archive.entries, path, partial(read_member, archive.plain), archive.ignored, spans=archive.entries)


def _source(
    names: Iterable[str], path: Path, read: Read, ignored: Ignored, *, spans: Mapping[str, Span | None] | None = None
) -> Source:
    """What lies under those names, arranged; `spans` are the places of a tar's files."""
    places, twice = plain_names(names)
    layout = arranged(places, where=str(path))
    renamed = {plain: name for plain, name in places.items() if plain != name}
    place: Callable[[str], Any] = partial(_place, layout.top, renamed)
    ignored += tuple((name, "another file has its name in another Unicode form") for name in twice)
    ignored = tuple((plain_name(name).removeprefix(layout.top), why) for name, why in ignored)
    return Source(
        layout.train,
        layout.test,
        read,
        layout.ignored + ignored,
        place if spans is None else partial(_span, spans, place),
        (*layout.notes, *_renamed(renamed)),
        layout.doubt,
    )


def _renamed(renamed: dict[str, str]) -> list[str]:
    """What is said of names that are no UTF-8, which nobody could write down as they are."""
    odd = [plain for plain, name in renamed.items() if any("\ud800" <= letter <= "\udfff" for letter in name)]
    return [f"{len(odd):,} names are not UTF-8: their other bytes are written as \\xNN, as in {odd[0]}"] if odd else []


def _place(top: str, renamed: Mapping[str, str], name: str) -> str:
    """The path of an id as the disk, or the tar, has it."""
    return renamed.get(top + name, top + name)


def _span(spans: Mapping[str, Span | None], place: Callable[[str], str], name: str) -> Span | None:
    return spans.get(place(name))


def _listed(root: Path) -> tuple[list[str], Ignored]:
    """Every file below, as a path from `root`, and every folder, with a slash, links followed; and what can't be."""
    names: list[str] = []
    ignored: list[tuple[str, str]] = []
    waiting: list[tuple[str, frozenset[FolderIdentity]]] = [("", frozenset([_identity(root)]))]
    while waiting:
        below, around = waiting.pop()
        names.append(below)
        for entry in _entries(root / below):
            name, own = below + entry.name, f"{below}{entry.name}/"
            if _leads(entry.is_file):
                names.append(name)
            elif not _leads(entry.is_dir):
                ignored.append((name, "a broken link" if entry.is_symlink() else "no plain file"))
            elif is_junk(entry.name):
                names.append(own)
            elif (identity := _identity(Path(entry.path))) in around:
                ignored.append((own, "a link to a folder around it"))
            else:
                waiting.append((own, around | {identity}))
    return [name for name in names if name], tuple(sorted(ignored))


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        raise ConfigError(
            f"{folder}: must be a folder that can be listed, but: {error.strerror}. Make it readable, or move it elsewhere."
        ) from None


def _leads(is_kind: Callable[[], bool]) -> bool:
    """Whether an entry is of a kind; not where a link leads in a circle, or to what nobody may see."""
    try:
        return is_kind()
    except OSError:
        return False


def _identity(folder: Path) -> FolderIdentity:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def read_file(root: Path, name: str) -> tuple[Image.Image, int]:
    """The image in the file `root/name`, not decoded yet, and a checksum of the file."""
    return image_in((root / name).read_bytes())


def read_member(tar: Path, span: Span | None) -> tuple[Image.Image, int]:
    """The image whose bytes lie there in a plain tar, not decoded yet, and a checksum of them."""
    if span is None:
        raise FileNotFoundError(f"no such file in {tar}")
    with tar.open("rb") as file:
        file.seek(span.offset)
        return image_in(file.read(span.size))
