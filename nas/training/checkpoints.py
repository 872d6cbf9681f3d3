"""A training in a file, from which it goes on after a kill: tensors and plain values, loaded without unpickling code."""

import io
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

import torch

from nas.errors import NasError, in_one_line
from nas.files import replacing

SHARE_OF_TIME = 0.02  # of a training that may go into writing checkpoints besides those that must be


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """`content` as the file `path`, whole or not at all; NasError where it can't be written."""
    buffer = io.BytesIO()  # torch reports a full disk as a RuntimeError without a reason; writing bytes reports it properly
    torch.save(content, buffer)
    with replacing(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def read_checkpoint(path: Path, *needs: str) -> dict[str, Any] | None:
    """What `write_checkpoint` wrote, on the CPU; None where there is no file.

    NasError where it is no checkpoint, or not one with all that is named in `needs`.
    """
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch names no exception for a file that is not its own
        why = in_one_line(error, most=200)
        raise NasError(f"{path}: must be a checkpoint, but can't be read: {why}. Delete it to start anew.") from None
    if not (isinstance(content, dict) and set(needs) <= set(content)):
        raise NasError(f"{path}: must be a checkpoint of ours, but is something else. Delete it to start anew.")
    return content


class Keeper:
    """The checkpoint of one training: written when it must, else as often as a small share of the training's time allows.

    Without a path nothing is kept. A checkpoint that can't be written or read costs time and nothing else; `trouble` says why.
    """

    def __init__(self, path: Path | None, setup: dict[str, Any], *, must: Container[int]):
        self._path, self._setup, self._must = path, setup, must
        self._written_at, self._cost = time.monotonic(), 0.0
        self.trouble: str | None = None

    def checkpointed(self) -> dict[str, Any] | None:
        """What an earlier process kept of this very training, or None."""
        try:
            content = self._path and read_checkpoint(self._path, "setup")
        except NasError as error:
            self.trouble, content = str(error), None
        return content if content and content["setup"] == self._setup else None

    def keep(self, content: dict[str, Any], *, epoch: int) -> None:
        """Keep `content` as what is known after an epoch, or leave it out."""
        began = time.monotonic()
        if self._path is None or (epoch not in self._must and (began - self._written_at) * SHARE_OF_TIME < self._cost):
            return
        try:
            write_checkpoint(self._path, {"setup": self._setup, **content})
            self.trouble = None
        except NasError as error:
            self.trouble = str(error)
        self._written_at = time.monotonic()
        self._cost = self._written_at - began
