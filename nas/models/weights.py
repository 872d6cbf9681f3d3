"""What a file that should hold weights is, by its first bytes. Nothing here unpickles: a pickle runs code when it is read."""

import hashlib
import pickletools
import shlex
import zipfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

HEAD = 1024  # bytes of a file that tell what it is
HEADER_BEGINS = 8  # a safetensors file's JSON begins behind its length, https://huggingface.co/docs/safetensors
PICKLED_ENDINGS = {".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar"}
MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--")
PICKLERS_OWN = {"PUT", "BINPUT", "STOP"}  # what a pickle without a protocol number has soon, and a text hardly


class Content(Enum):
    """What a path is, and why it holds no weights for us."""

    SAFETENSORS = "safetensors"
    PICKLE = "it is a pickle, which may run any code when it is read"
    MISSING = "it does not exist. Check the path"
    FOLDER = "it is a folder. Name the .safetensors file in it"
    SPECIAL = "it is no regular file. Name a .safetensors file"
    EMPTY = "it is empty. Copy or download it again"
    POINTER = "it is a pointer of git-lfs, not the weights. Fetch them: git lfs pull"
    PAGE = "it is a web page. Download the file itself, from the Hugging Face hub under /resolve/ instead of /blob/"
    ARCHIVE = "it is a zip archive of other files. Unpack it, and name the .safetensors file from it"
    UNKNOWN = "it begins as no such file does. Check the path, or copy it again"


def weights_digest(tensors: "Mapping[str, Tensor]") -> str:
    """Sixteen hexadecimal digits (SHA-256) that tell whether any weight, its shape or its name was changed."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def content_of(path: Path) -> Content:
    """What lies at a path; OSError where it can't be read."""
    if not path.exists():
        return Content.MISSING
    if path.is_dir():
        return Content.FOLDER
    if not path.is_file():
        return Content.SPECIAL
    with path.open("rb") as file:
        head = file.read(HEAD)
    if head.startswith(b"PK\x03\x04"):
        return _content_of_zip(path)
    return _content_of_bytes(head, ending=path.suffix.lower())


def _content_of_bytes(head: bytes, *, ending: str) -> Content:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if not head:
        return Content.EMPTY
    if head[HEADER_BEGINS : HEADER_BEGINS + 1] == b"{":
        return Content.SAFETENSORS
    if text.startswith(b"version https://git-lfs"):
        return Content.POINTER
    if text.startswith(MARKUP):
        return Content.PAGE
    return Content.PICKLE if _is_pickle(head) or ending in PICKLED_ENDINGS else Content.UNKNOWN


def _content_of_zip(path: Path) -> Content:
    """torch.save writes a zip archive with a data.pkl in it; where it was cut off, the file's name has to do."""
    try:
        with zipfile.ZipFile(path) as archive:
            pickled = any(name.endswith(".pkl") for name in archive.namelist())
    except zipfile.BadZipFile:
        pickled = path.suffix.lower() in PICKLED_ENDINGS
    return Content.PICKLE if pickled else Content.ARCHIVE


def _is_pickle(head: bytes) -> bool:
    if head[:1] == b"\x80":  # then the number of the protocol
        return head[1:2] <= b"\x05"
    if head[:1] not in (b"(", b"]", b"}", b"c"):
        return False
    try:
        return any(opcode.name in PICKLERS_OWN for opcode, _, _ in pickletools.genops(head))
    except ValueError:  # no opcode, or it goes on behind the head
        return False


def why_refused(path: Path, content: Content) -> str:
    """What to say of a file of that kind where safetensors are read, and the way out."""
    if content is Content.PICKLE:
        return f"{content.value}. Convert it once, and name the new file: {conversion(path)}"
    return f"{content.value}."


def conversion(path: Path) -> str:
    """The command that makes a safetensors file of a pickle, without running what is in it."""
    target = path.with_suffix(".converted.safetensors" if path.suffix == ".safetensors" else ".safetensors")
    code = (  # torch.load goes by a path's ending, not by an open file's
        "import torch; from safetensors.torch import save_file; "
        f'w = torch.load(open({_quoted(path)}, "rb"), map_location="cpu", weights_only=True); '
        'w = w.get("state_dict", w.get("model", w)); '
        f"save_file({{k: v.clone().contiguous() for k, v in w.items() if torch.is_tensor(v)}}, {_quoted(target)})"
    )
    return f"python -c {shlex.quote(code)}"


def _quoted(path: Path) -> str:
    """A text of Python in double quotes where that can be: the shell's own are the single ones."""
    text = str(path)
    return repr(text) if set(text) & {'"', "\\"} or not text.isprintable() else f'"{text}"'
