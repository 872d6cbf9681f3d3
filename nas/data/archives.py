"""A tar of images as an index: which files it holds and where their bytes lie. Nothing in it is ever extracted to a path.

A plain tar is read where it lies. A packed one can be read from its start only, so it is unpacked once, as a whole, into
a plain one in the cache folder.
"""

import bz2
import gzip
import hashlib
import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import IO, NamedTuple

from nas.data.cache import READ_BYTES, cache_folder, check_room, made
from nas.data.decoding import OnDecoded
from nas.data.layout import is_junk
from nas.errors import ConfigError

Unpack = Callable[[IO[bytes]], BufferedIOBase]
UNPACK: dict[bytes, Unpack] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
"""By the first bytes, whatever the name says."""
OTHERS = {
    b"\x28\xb5\x2f\xfd": "it is packed by zstd",
    b"PK\3\4": "it is a zip file",
    b"Rar!": "it is a rar file",
    b"7z\xbc\xaf": "it is a 7z file",
}
"""Archives of other kinds, by their first bytes."""
DAMAGED = (OSError, EOFError, ValueError, OverflowError, RecursionError, tarfile.TarError, zlib.error, lzma.LZMAError)
"""What reading a file that isn't the tar it should be can raise."""


class Span(NamedTuple):
    """Where a file's bytes lie in a tar."""

    offset: int
    size: int


class Archive(NamedTuple):
    """What a tar holds."""

    plain: Path
    """The tar, or what was unpacked of it."""
    entries: dict[str, Span | None]
    """Files by name, of two with one name the later; and folders, whose names end in a slash, with None."""
    ignored: tuple[tuple[str, str], ...]
    """Members that are neither, each with the reason."""


def open_archive(path: Path, on_decoded: OnDecoded) -> Archive:
    """The tar's index. A tar inside it is a folder of its name without the suffix, as in ImageNet's training tar.

    ConfigError where it isn't a whole tar; NasError where the cache folder has no room for a packed one.
    """
    plain = path
    try:
        plain = _plain(path, on_decoded)
        return _indexed(plain)
    except DAMAGED as error:
        if plain != path:
            plain.unlink(missing_ok=True)
        raise _refused(path, error) from None


def _indexed(plain: Path) -> Archive:
    entries: dict[str, Span | None] = {}
    ignored: list[tuple[str, str]] = []
    links: dict[str, str] = {}
    with plain.open("rb") as file:
        for name, member in _members(file, os.fstat(file.fileno()).st_size):
            links.pop(name, None)
            if member.isdir():
                entries[f"{name}/"] = None
            elif member.issym() or member.islnk():
                links[name] = _target(name, member)
                entries.pop(name, None)  # the later of two with one name counts
            elif reason := _strange(member):
                ignored.append((name, reason))
            else:
                entries[name] = Span(member.offset_data, member.size)
    for name in links:
        span = entries.get(_end_of(name, links))
        if span is None:
            ignored.append((name, f"a link to {links[name] or 'nothing'}, which is no file of the tar"))
        else:
            entries[name] = span
    return Archive(plain, entries, tuple(ignored))


def _target(name: str, member: tarfile.TarInfo) -> str:
    """What a link names: a path from the tar's top, which a symbolic one counts from its own folder."""
    start = posixpath.dirname(name) if member.issym() else name.removesuffix(_clean(member.name))
    return posixpath.normpath(posixpath.join(start, member.linkname)).lstrip("/") if member.linkname else ""


def _end_of(name: str, links: dict[str, str]) -> str:
    """What is at the end of a chain of links; the name itself where they go round in a circle."""
    passed = {name}
    target = links[name]
    while target in links and target not in passed:
        passed.add(target)
        target = links[target]
    return target


def _members(file: IO[bytes], end: int, folder: str = "") -> Iterator[tuple[str, tarfile.TarInfo]]:
    """Members, with their names, of the tar from the file's position to byte `end`; those of a tar inside it too."""
    itself = f"{folder[:-1]}.tar in it" if folder else "it"
    tar = tarfile.TarFile(fileobj=file, encoding="utf-8")
    while member := tar.next():
        tar.members.clear()  # type: ignore[attr-defined]  # not in typeshed; or it keeps the headers of a million images
        if not member.offset < tar.offset <= end:
            raise tarfile.ReadError(f"{itself} ends in the middle of {member.name!r}")
        name = folder + _clean(member.name)
        if name.endswith(".tar") and member.isreg() and not folder and not any(map(is_junk, name.split("/"))):
            file.seek(member.offset_data)
            yield from _members(file, member.offset_data + member.size, f"{name.removesuffix('.tar')}/")
        elif name:
            yield name, member
    file.seek(tar.offset)
    if tar.offset + tarfile.BLOCKSIZE > end or any(file.read(tarfile.BLOCKSIZE)):  # tarfile itself would take what it has
        raise tarfile.ReadError(f"{itself} is cut short or damaged at byte {tar.offset:,}")


def _clean(name: str) -> str:
    """A path without a slash at its ends, and without parts that lead nowhere."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _strange(member: tarfile.TarInfo) -> str:
    """Why a member is not taken; empty for a file."""
    if not member.isreg() or member.issparse():
        return "not stored as a plain file"
    return "its name leads out of the tar" if ".." in member.name.split("/") else ""


def _plain(path: Path, on_decoded: OnDecoded) -> Path:
    """The tar itself, or what was unpacked of a packed one, checked to the last byte."""
    with path.open("rb") as file:
        head = file.read(6)
    if other := next((kind for magic, kind in OTHERS.items() if head.startswith(magic)), None):
        raise tarfile.CompressionError(other)
    unpack = next((unpack for magic, unpack in UNPACK.items() if head.startswith(magic)), None)
    if unpack is None:
        return path
    stat, place = path.stat(), hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    plain = cache_folder() / f"unpacked-{place}.tar"
    made(plain, lambda: _unpacked(path, unpack, on_decoded), origin=f"{stat.st_size} bytes of {stat.st_mtime_ns}")
    return plain


def _unpacked(path: Path, unpack: Unpack, on_decoded: OnDecoded) -> Iterator[bytes]:
    total = path.stat().st_size
    check_room(total, work=f"unpacking {path}", way_out="or unpack it elsewhere and name its folder")
    on_decoded(0, total, "bytes")
    try:
        with path.open("rb") as packed, unpack(packed) as stream:
            while block := stream.read(READ_BYTES):
                yield block
                on_decoded(packed.tell(), total, "bytes")
    except DAMAGED as error:  # here already: around this an OSError is one of writing
        raise _refused(path, error) from None


def _refused(path: Path, error: Exception) -> ConfigError:
    why = getattr(error, "strerror", None) or error
    return ConfigError(
        f"{path}: must be a whole tar, plain or packed by gzip, bzip2 or xz, but: {why}. Fetch it again, or unpack it and name "
        "its folder."
    )
