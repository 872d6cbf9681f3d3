"""What a format is: a row of the table, and how a network of torch gets there and is asked again."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

WriteFormat = Callable[[nn.Module, Tensor, Path], None]
"""Writes a network, traced with a batch of images, to a path."""
LoadedNetwork = Callable[[Tensor], Tensor]
"""What a format's own runtime computes for images `(B, 3, S, S)`: logits `(B, classes)`."""
LoadFormat = Callable[[Path], LoadedNetwork]
"""Gives a file to the runtime, which then answers any number of times, with one thread where it lets itself be told."""


class Writer(NamedTuple):
    """A format: its files, who writes them, who computes logits with them, and the packages that this takes."""

    files: tuple[str, ...]
    """The first is what a runtime is given."""
    about: str
    """What it is for, on the model card."""
    write: WriteFormat
    load: LoadFormat | None
    """None where its runtime is on no machine that this package runs on; `check` looks at the file then."""
    usage: str
    """Code for the model card that takes `pixels("cat.jpg")`, images `(1, 3, S, S)`, to `logits` `(1, classes)`."""
    packages: tuple[str, ...] = ()
    """With the versions that it was tested with, as pip writes them."""
    extra: str = ""
    """Which of this package's extras brings them."""
    check: Callable[[Path, Tensor], None] | None = None
