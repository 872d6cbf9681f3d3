"""Where images come from: embedded digits, class folders, a tar of them, timm's; each as ids by class and a way to read one."""

import io
import os
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from nas.errors import ConfigError
from nas.training.archives import Span, open_archive
from nas.training.decoding import OnDecoded, Read, silent

TIMM_PREFIXES = ("torch/", "hfds/", "wds/")
TEST_FOLDERS = ("val", "validation", "test")
Pool = Mapping[str, list[str]]  # ids by class name, in a fixed order
Files = dict[str, list[str]]  # by class folder, sorted
Ignored = tuple[tuple[str, str], ...]


class Source(NamedTuple):
    """A data set before anything is drawn from it."""

    train: Pool
    test: Pool | None
    """None where the data set has no held-out split: a share of `train` is then set aside."""
    read: Read
    """The image at a place, perhaps not decoded yet, and a checksum of what it is made from."""
    ignored: Ignored = ()
    """Files that lie among the images without being one, each with the reason."""
    place: Callable[[str], Any] = str
    """Where `read` finds the image of an id: the id itself, or something as small that another process can be sent."""


def open_source(data: str, *, root: Path | None = None, on_decoded: OnDecoded = silent) -> Source:
    """The data set of that name; `root` is where it lies if not where `data` (a path) or $NAS_DATA (timm names) says."""
    if data == "digits":
        return _digits()
    if data.startswith(TIMM_PREFIXES):
        return _timm(data, root=data_home(root))
    path = Path(root or data).expanduser()
    if path.is_dir():
        return _arranged(path, partial(_files, path), partial(read_file, path))
    if path.is_file():
        return _tar(path, on_decoded)
    raise ConfigError(
        f"data must be digits, a timm name ({', '.join(p + '…' for p in TIMM_PREFIXES)}), an image folder or a tar of one, "
        f"but {path} is none of these. Check the path."
    )


def data_home(root: Path | None = None) -> Path:
    """Where timm's data sets lie: `root`, else $NAS_DATA, else ~/.cache/metaformer-nas/data."""
    return Path(root or os.environ.get("NAS_DATA", "~/.cache/metaformer-nas/data")).expanduser()


def is_folder(data: str) -> bool:
    """Whether `data` is a path on this machine, of a folder or of a tar of one, and no name that holds everywhere."""
    return data != "digits" and not data.startswith(TIMM_PREFIXES)


def _digits() -> Source:
    """1,797 handwritten digits of 8x8 pixels in 17 greys; scikit-learn carries the test part of UCI's optdigits."""
    from sklearn.datasets import load_digits

    found = load_digits()
    pixels = np.round(found.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    train = {str(digit): [str(i) for i in np.flatnonzero(found.target == digit)] for digit in range(10)}

    def read(number: str) -> tuple[Image.Image, int]:
        image = pixels[int(number)]
        return Image.fromarray(image), zlib.crc32(image.tobytes())

    return Source(train, None, read)


def _arranged(where: Path, files: Callable[[str], Files | None], read: Read, ignored: Ignored = (), place=str) -> Source:
    """Class folders at the top, or below train/ and val/; `files` lists those below a folder, None for one that isn't there."""
    train = files("train/")
    test_folder, test = next(((name, found) for name in TEST_FOLDERS if (found := files(f"{name}/")) is not None), ("", None))
    if test is not None and train is None:
        raise ConfigError(f"{where}: {test_folder}/ needs a train/ beside it. Add it, or name the folder of classes itself.")
    train, ignored_train = _images(files("") if train is None else train, where if train is None else where / "train")
    test, ignored_test = (None, ()) if test is None else _images(test, where / test_folder)
    ignored = ((name.encode("utf-8", "backslashreplace").decode(), why) for name, why in ignored + ignored_train + ignored_test)
    return Source(train, test, read, tuple(ignored), place)


def _images(files: Files, where: Path) -> tuple[Pool, Ignored]:
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


def _tar(path: Path, on_decoded: OnDecoded) -> Source:
    """The same folders in a tar, at its top or in the one folder that holds everything; ids are as in that folder."""
    archive = open_archive(path, on_decoded)
    top = _top(archive.entries)
    return _arranged(
        path,
        partial(_members, archive.entries, top),
        partial(read_member, archive.plain),
        tuple((name.removeprefix(top), why) for name, why in archive.ignored),
        lambda name: archive.entries.get(top + name),
    )


def _top(entries: Iterable[str]) -> str:
    """The folder, with its slash, that holds all folders of a tar and is not one of its splits; empty without one."""
    tops = {name.partition("/")[0] for name in entries if not name.startswith(".")}
    top = f"{tops.pop()}/" if len(tops) == 1 else ""
    is_split = top.rstrip("/") in ("train", *TEST_FOLDERS)
    return top if not is_split and any("/" in name.removeprefix(top) for name in entries if name.startswith(top)) else ""


def _members(entries: Iterable[str], top: str, below: str) -> Files | None:
    """Files of each class folder in the folder `top/below` of a tar, as paths from `top`."""
    inside = [name.removeprefix(top) for name in entries if name.startswith(top + below)]
    found: Files = {}
    for name in sorted(inside):
        folder, slash, _ = name.removeprefix(below).partition("/")
        if slash and not folder.startswith("."):
            files, file = found.setdefault(folder, []), name.rpartition("/")[2]
            files += [name] if file and not file.startswith(".") else []
    return found if inside or not below else None


def read_member(tar: Path, span: Span | None) -> tuple[Image.Image, int]:
    """The image whose bytes lie there in a plain tar, not decoded yet, and a checksum of them."""
    if span is None:
        raise FileNotFoundError(f"no such file in {tar}")
    with tar.open("rb") as file:
        file.seek(span.offset)
        return image_in(file.read(span.size))


def image_in(content: bytes) -> tuple[Image.Image, int]:
    """The image in a file's bytes, not decoded yet, and a checksum of them."""
    try:
        return Image.open(io.BytesIO(content)), zlib.crc32(content)
    except UnidentifiedImageError:  # its own message names an address in memory
        raise ValueError(f"no kind of image that Pillow knows begins its {len(content):,} bytes") from None


def _timm(data: str, *, root: Path) -> Source:
    """A data set that timm knows and that lies under `root`; nothing is downloaded."""
    splits = {"train": _timm_split(data, "train", root), "test": _timm_split(data, "validation", root)}

    def read(name: str) -> tuple[Image.Image, int]:
        split, number = name.split(":")
        image = splits[split][int(number)][0]
        image = image if isinstance(image, Image.Image) else Image.open(image)
        return image, zlib.crc32(image.tobytes())

    return Source(*(_by_class(dataset, split) for split, dataset in splits.items()), read)


def _timm_split(data: str, split: str, root: Path):
    """Something that gives (image or file, label) by number."""
    from timm.data import create_dataset
    from torch.utils.data import IterableDataset

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # hfds/ would download whatever `download` says
    try:
        found = create_dataset(data, root=str(root), split=split, download=False)
        if isinstance(found, IterableDataset):  # wds/: a stream has no numbers, so it is kept, compressed images as they are
            return list(found)
        return getattr(found, "reader", found)  # timm's ImageDataset would put the next image in a broken one's place
    except Exception as error:  # each of timm's backends has its own way to say that data is missing
        why = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(
            f"data={data} must lie under {root} already, because nothing is downloaded, but its {split} split can't be opened: "
            f"{why}. Put it there, or set NAS_DATA to its folder."
        ) from None


def _by_class(dataset, split: str) -> Pool:
    """Ids such as train:17 by class; labels are taken without decoding an image where the data set lists them."""
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
