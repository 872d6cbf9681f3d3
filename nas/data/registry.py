"""Which source of images a name or a path means: embedded digits, class folders, a tar of them, timm's data sets."""

import os
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from nas.callbacks import ignore
from nas.data.class_folders import open_class_folders, open_tar
from nas.data.decoding import OnDecoded
from nas.data.source import Source, checksum_of
from nas.data.timm_data import TIMM_PACKAGES, open_timm
from nas.errors import ConfigError
from nas.files import in_home

TIMM_PREFIXES = tuple(TIMM_PACKAGES)


def open_source(data: str, *, root: Path | None = None, on_decoded: OnDecoded = ignore) -> Source:
    """The data set of that name; `root` is where it lies if not where `data` (a path) or $NAS_DATA (timm names) says."""
    if data == "digits":
        return _digits()
    if data.startswith(TIMM_PREFIXES):
        return open_timm(data, root=data_home(root), on_decoded=on_decoded)
    path = in_home(root or data, way_out="Give the whole path")
    if path.is_dir():
        return open_class_folders(path)
    if path.is_file():
        return open_tar(path, on_decoded)
    raise ConfigError(
        f"data must be digits, a timm name ({', '.join(p + '…' for p in TIMM_PREFIXES)}), an image folder or a tar of one, "
        f"but {path} is none of these. Check the path."
    )


def data_home(root: Path | None = None) -> Path:
    """Where timm's data sets lie: `root`, else $NAS_DATA, else ~/.cache/metaformer-nas/data."""
    where = root or os.environ.get("NAS_DATA") or "~/.cache/metaformer-nas/data"
    return in_home(where, way_out="Set NAS_DATA to the folder")


def is_folder(data: str) -> bool:
    """Whether `data` is a path on this machine, of a folder or of a tar of one, and no name that holds everywhere."""
    return data != "digits" and not data.startswith(TIMM_PREFIXES)


def data_root(data: str) -> Path | None:
    """Where the images of a path lie now, whatever a manifest says of then; None for a name."""
    return Path(data) if is_folder(data) else None


def _digits() -> Source:
    """1,797 handwritten digits of 8x8 pixels in 17 greys; scikit-learn carries the test part of UCI's optdigits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)  # (1797, 8, 8)
    train = {str(digit): [str(i) for i in np.flatnonzero(digits.target == digit)] for digit in range(10)}

    return Source(train, None, partial(_read_digit, pixels))


def _read_digit(pixels: np.ndarray, number: str) -> tuple[Image.Image, int]:
    image = pixels[int(number)]
    return Image.fromarray(image), checksum_of(image.tobytes())
