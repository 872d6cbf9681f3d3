"""Where images come from: embedded digits, class folders, timm's datasets; each as ids by class and a way to read one."""

import io
import os
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from nas.errors import ConfigError

TIMM_PREFIXES = ("torch/", "hfds/", "wds/")
TEST_FOLDERS = ("val", "validation", "test")
Pool = Mapping[str, list[str]]  # ids by class name, in a fixed order


class Source(NamedTuple):
    """A data set before anything is drawn from it."""

    train: Pool
    test: Pool | None
    """None where the data set has no held-out split: a share of `train` is then set aside."""
    read: Callable[[str], tuple[Image.Image, int]]
    """The image of that id, perhaps not decoded yet, and a checksum of what it is made from."""
    ignored: tuple[tuple[str, str], ...] = ()
    """Files that lie among the images without being one, each with the reason."""


def open_source(data: str, *, root: Path | None = None) -> Source:
    """The data set of that name; `root` is where it lies if not where `data` (folders) or $NAS_DATA (timm names) says."""
    if data == "digits":
        return _digits()
    if data.startswith(TIMM_PREFIXES):
        return _timm(data, root=root or Path(os.environ.get("NAS_DATA", "~/.cache/metaformer-nas/data")).expanduser())
    return _folders(Path(root or data).expanduser())


def is_folder(data: str) -> bool:
    """Whether `data` is a path on this machine and no name that holds everywhere."""
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


def _folders(root: Path) -> Source:
    """Class folders below `root`, or below `root/train` and `root/val`."""
    if not root.is_dir():
        raise ConfigError(
            f"data must be digits, a timm name ({', '.join(p + '…' for p in TIMM_PREFIXES)}) or an image folder, "
            f"but {root} is no folder. Check the path."
        )
    test_folder = next((name for name in TEST_FOLDERS if (root / name).is_dir()), None)
    split = (root / "train").is_dir()
    if test_folder and not split:
        raise ConfigError(f"{root}: {test_folder}/ needs a train/ beside it. Add it, or name the folder of classes itself.")
    train, ignored = _classes(root, "train" if split else ".")
    test, ignored_test = _classes(root, test_folder) if test_folder else (None, [])

    return Source(train, test, partial(read_file, root), tuple(ignored + ignored_test))


def read_file(root: Path, name: str) -> tuple[Image.Image, int]:
    """The image in the file `root/name`, not decoded yet, and a checksum of the file."""
    content = (root / name).read_bytes()
    return Image.open(io.BytesIO(content)), zlib.crc32(content)


def _classes(root: Path, below: str) -> tuple[Pool, list[tuple[str, str]]]:
    """Image files by class folder, sorted, as paths from `root`; and the files that are no images by their name."""
    Image.init()
    folders = sorted(p for p in (root / below).iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise ConfigError(f"{root / below}: must hold one folder for each class. Put each class's images into a folder.")
    pool, ignored = {}, []
    for folder in folders:
        files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
        names = [(p.relative_to(root).as_posix(), p.suffix.lower() in Image.EXTENSION) for p in files]
        pool[folder.name] = [name for name, is_image in names if is_image]
        ignored += [(name, "no image by its file name") for name, is_image in names if not is_image]
    return pool, ignored


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
