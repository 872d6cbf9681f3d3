"""Which of a data set's files are images of which class and split, by their names alone; everything passed over is named.

A folder on a disk and a tar are the same to it: paths with slashes. Nothing here reads a file.
"""

import os
import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from PIL import Image

from nas.errors import ConfigError, few

TRAIN_NAMES = ("train", "training", "trn")
TEST_NAMES = (
    "val", "valid", "validation", "eval", "evaluation", "dev", "devel", "development", "test", "testing", "tst", "holdout",
    "heldout",
)  # fmt: skip
"""What a held-out split is usually called; of several the first is taken."""
AFFIX = re.compile(r"[\W\d_]+|(?:set|split|data|images|imgs)$")  # besides, as in Train_Set or val2017
JUNK = {
    "__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "recycler", "lost+found", "system volume information",
    "__pycache__", "thumbs.db", "desktop.ini", "ehthumbs.db", "network trash folder", "temporary items", "icon\r",
}  # fmt: skip
"""What file managers, archivers and file servers leave among files, copies of images included; hidden names are as well."""
NO_IMAGES = {
    "BUFR",
    "EPS",
    "GRIB",
    "HDF5",
    "IPTC",
    "MPEG",
    "PALM",
    "PDF",
    "WMF",
}
"""Pillow's formats whose pixels it can't read."""
STRAY = "an image outside of all class folders"
FEW_NAMES = 4

Files = dict[str, list[str]]  # by class, sorted


class Layout(NamedTuple):
    """What a data set's names say."""

    train: Files
    test: Files | None
    """None where there is no held-out split."""
    ignored: tuple[tuple[str, str], ...]
    """Files and folders that were passed over, each with the reason."""
    top: str
    """The folder, with a slash behind, that holds everything, from which the names begin; empty without one."""
    doubt: str = ""
    """Why the class folders may be none; empty where nothing speaks against them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of it."""
        return (f"the class folders were looked for in {self.top}",) if self.top else ()


class Folder:
    """A folder that holds images, itself or below."""

    def __init__(self, path: str = ""):
        self.path = path
        """From the data set's top, with a slash behind; empty for the top itself."""
        self.images: list[str] = []
        self.folders: dict[str, Folder] = {}

    @property
    def all_images(self) -> list[str]:
        """Those below as well."""
        images, waiting = [], [self]
        while waiting:  # as deep as a disk goes, which is deeper than Python calls itself
            folder = waiting.pop()
            images += folder.images
            waiting += folder.folders.values()
        return images

    @property
    def is_split_like(self) -> bool:
        """Whether it holds folders of images and no image itself."""
        return bool(self.folders) and not self.images

    def without_wrappers(self) -> "Folder":
        """The folder itself, or in it the one that all folders lie in, however deep, unless that is a split."""
        here = self
        while len(here.folders) == 1:
            (name, only), *_ = here.folders.items()
            if _split_of(name) or not only.folders:
                return here
            here = only
        return here


@cache
def image_endings() -> frozenset[str]:
    """Endings of image files, small letters with the dot: those of Pillow's formats whose pixels it can read."""
    Image.init()
    return frozenset(ending for ending, format_ in Image.EXTENSION.items() if format_ not in NO_IMAGES)


def is_image_name(name: str) -> bool:
    """Whether a file's name has the ending of an image."""
    return os.path.splitext(name)[1].lower() in image_endings()


def is_junk(part: str) -> bool:
    """Whether one part of a path is hidden, or known to be no part of a data set."""
    return part.startswith(".") or part.casefold() in JUNK


def plain_name(name: str) -> str:
    """A path as it is written down: in Unicode's composed form (NFC), bytes that are no UTF-8 as \\xNN."""
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
        name = re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", name)
        return name.encode("utf-8", "backslashreplace").decode()
    return name


def plain_names(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Paths by their plain names; and those whose plain name another one has already."""
    places: dict[str, str] = {}
    twice = []
    for name in names:
        if places.setdefault(plain_name(name), name) != name:
            twice.append(plain_name(name))
    return places, twice


def arranged(names: Iterable[str], *, where: str) -> Layout:
    """Files by class and split; ConfigError where there is no class folder, or where folders could be splits or classes.

    Class folders lie at the top, below one folder that holds all others, or below the folders of a training and a held-out
    split. `where` names the data set in messages.
    """
    top, bare, ignored = _tree(names)
    here = top.without_wrappers()
    if not here.folders:
        raise ConfigError(f"{where}: must hold one folder for each class. Put each class's images into a folder.")
    ignored += [(path, STRAY) for path in _strays(top, here)]
    train, test, passed_over = _splits(here, where)
    ignored += passed_over
    splits = [split for split in (train, test) if split is not None]
    sides = [split.without_wrappers() for split in splits] or [here]
    ignored += [(path, STRAY) for split, side in zip(splits, sides, strict=False) for path in _strays(split, side)]
    pools = [_classes(side, here.path, bare) for side in sides]
    ignored += [(path, "a folder without images") for path in bare if _parent(path) not in {side.path for side in sides}]
    named = tuple((path.removeprefix(here.path), why) for path, why in ignored)
    return Layout(pools[0], None if test is None else pools[1], named, here.path, _doubt(sides[0]))


def _tree(names: Iterable[str]) -> tuple[Folder, list[str], list[tuple[str, str]]]:
    """The folders that hold images, those that hold none, and what lies among them without being one."""
    top, junk, ignored = Folder(), set(), []
    folder_names: set[str] = set()
    for name in sorted(names):
        *folders, file = name.split("/")
        hidden = next((i for i, part in enumerate(folders) if is_junk(part)), None)
        if hidden is not None:
            junk.add("/".join(folders[: hidden + 1]) + "/")
        elif not file:
            folder_names.add(name)
        elif folders and not is_junk(file) and not is_image_name(file):
            ignored.append((name, "no image by its file name"))
        elif not is_junk(file) and is_image_name(file):
            _at(top, folders).images.append(name)
    ignored += [(folder, "a hidden folder, or one that is no part of a data set") for folder in sorted(junk)]
    return top, sorted(folder for folder in folder_names if not _holds_images(top, folder)), ignored


def _at(top: Folder, parts: list[str]) -> Folder:
    here = top
    for part in parts:
        here = here.folders.setdefault(part, Folder(f"{here.path}{part}/"))
    return here


def _holds_images(top: Folder, path: str) -> bool:
    here: Folder | None = top
    for part in path.strip("/").split("/"):
        here = here.folders.get(part) if here else None
    return here is not None


def _strays(outer: Folder, inner: Folder) -> list[str]:
    """Images in the folders from the outer one to the inner one, in which the class folders lie."""
    around, folder = list(outer.images), outer
    for part in inner.path.removeprefix(outer.path).split("/")[:-1]:
        folder = folder.folders[part]
        around += folder.images
    return around


def _classes(folder: Folder, top: str, bare: list[str]) -> Files:
    """Images by class; a class folder without any is one all the same, and will be missed."""
    classes: Files = {path.removeprefix(folder.path).rstrip("/"): [] for path in bare if _parent(path) == folder.path}
    classes |= {name: sorted(i.removeprefix(top) for i in below.all_images) for name, below in folder.folders.items()}
    return dict(sorted(classes.items()))


def _parent(path: str) -> str:
    """The folder, with its slash, in which a folder lies."""
    return path[: path.rstrip("/").rfind("/") + 1]


# Splits


def _split_of(name: str) -> str:
    """ "train" or "test" for what a split is usually called, in any case; empty for any other name."""
    bare = AFFIX.sub("", name.casefold())
    bare = AFFIX.sub("", bare)  # as in train_set_2
    return "train" if bare in TRAIN_NAMES else "test" if bare in TEST_NAMES else ""


def _holds_split_word(name: str) -> bool:
    """Whether one of its words is what a split is usually called, as in seg_train."""
    return any(map(_split_of, re.split(r"[\W_]+", name)))


def _rank(name: str) -> tuple[int, str]:
    bare = AFFIX.sub("", AFFIX.sub("", name.casefold()))
    return TEST_NAMES.index(bare), name


def _splits(here: Folder, where: str) -> tuple[Folder | None, Folder | None, list[tuple[str, str]]]:
    """The folders of the training and the held-out split, and what beside them is passed over; nothing without splits."""
    candidates = {name: _split_of(name) for name, folder in here.folders.items() if folder.is_split_like and _split_of(name)}
    trains = [name for name, kind in candidates.items() if kind == "train"]
    tests = sorted((name for name, kind in candidates.items() if kind == "test"), key=_rank)
    others = [name for name in here.folders if name not in candidates]
    if not candidates:
        return None, None, []
    if len(trains) > 1:
        raise ConfigError(f"{where}: must have one training split, but {_slashed(trains)} are called like one. Rename one.")
    mixed = [name for name in others if _split_of(name) and here.folders[name].folders]
    if mixed:
        strays = few(here.folders[mixed[0]].images, most=FEW_NAMES)
        raise ConfigError(
            f"{where}: {mixed[0]}/ is called like a split, but holds images beside its folders: {strays}. Move them into the "
            "folder of a class, or elsewhere."
        )
    if not trains:
        raise ConfigError(_no_train(where, tests, others))
    _refuse_unclear(here, where, trains[0], tests, others)
    train, test = here.folders[trains[0]], here.folders[tests[0]] if tests else None
    passed_over = [(here.folders[name].path, f"passed over: {tests[0]}/ is the held-out split") for name in tests[1:]]
    passed_over += [(here.folders[name].path, "passed over: not called like a split") for name in others if not _split_of(name)]
    passed_over += [(here.folders[name].path, "passed over: it holds no class folders") for name in others if _split_of(name)]
    return train, test, passed_over


def _no_train(where: str, tests: list[str], others: list[str]) -> str:
    if not others:
        return f"{where}: {tests[0]}/ needs a train/ beside it. Add it, or name the folder of classes itself."
    return (
        f"{where}: {_slashed(tests)} holds folders of images and is called like a split, but no train/ stands beside it: "
        f"{_slashed(others)} do. Put these into train/, or rename {tests[0]}/ if it is a class."
    )


def _refuse_unclear(here: Folder, where: str, train: str, tests: list[str], others: list[str]) -> None:
    """ConfigError where, without a held-out split, a folder beside the training split may be one, or all may be classes."""
    if tests:
        return
    classes = set(here.folders[train].folders)
    alike = [name for name in others if classes & set(here.folders[name].folders)]
    if alike:
        raise ConfigError(
            f"{where}: {alike[0]}/ holds the same folders as {train}/, so it may be a held-out split, but it isn't called like "
            f"one. Rename it val/, or move it elsewhere."
        )
    images = [name for name in others if here.folders[name].images and not _split_of(name)]
    if len(images) > 1:
        raise ConfigError(
            f"{where}: {train}/ holds folders of images, like a training split, but {_slashed(images)} beside it hold images, "
            f"like classes. Give {where}/{train} if it is the split; if it "
            "is a class, put its images into it without folders between."
        )


def _doubt(here: Folder) -> str:
    """Why the folders may be something else than classes."""
    folders = {name: folder.without_wrappers() for name, folder in here.folders.items()}
    for folder in folders.values():
        splits = [name for name, below in folder.folders.items() if _split_of(name) and below.is_split_like]
        if splits:
            return f"{folder.path} holds {_slashed(splits)}, called like splits, so it may be the data set. Name it itself"
    kinds = {name: _split_of(name) for name in folders}
    named = [name for name, kind in kinds.items() if kind]
    if len(named) > 1 and (len(named) == len(folders) or len({kinds[name] for name in named}) > 1):
        return f"{_slashed(named)} are called like splits, but hold images and no class folders. Put each class into a folder"
    alike = {name: set(folder.folders) for name, folder in folders.items() if folder.is_split_like}
    worded = {name: below for name, below in alike.items() if _holds_split_word(name)}
    return _doubt_of_same(worded) or (_doubt_of_same(alike) if len(alike) == len(folders) else "")


def _doubt_of_same(below: dict[str, set[str]]) -> str:
    """Why folders that hold folders of the same names may be splits; empty where they hold others."""
    shared = sorted(set.intersection(*below.values())) if len(below) > 1 else []
    if len(shared) > 1 or any(map(_split_of, shared)):
        return (
            f"{_slashed(list(below))} hold the same folders ({_slashed(shared)}), so these may be the classes, or the "
            "splits. Call the splits train/ and val/, with the classes below"
        )
    return ""


def _slashed(names: Iterable[str]) -> str:
    return few([f"{name}/" for name in names], most=FEW_NAMES)
