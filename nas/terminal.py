"""Where people read: text from outside can neither style nor steer the terminal, and what can't be shown ends no work."""

import codecs
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that move the cursor, colour or hide text, or turn its direction; not the end of a line, nor a tab."""
UNPASTEABLE = re.compile(f"{UNSEEN.pattern}|[\ud800-\udfff]")
"""These, and bytes that are no UTF-8."""
IN_ASCII = {"·": "-", "±": "+-", "…": "...", "–": "-", "×": "x", "’": "'", "“": '"', "”": '"'}
PLAIN = "nas-plain"  # the name of our way to write what an encoding lacks
WHOLE = re.compile(
    r"(?:^|(?<=[:;(] ))(?:nas|\S*python\S*(?: -m nas| \S+\.py)|\S+/nas) [a-z][^`\n]*?(?=\.?$|\)|;)"
    r"|`[^`\n]*`|(?<=\d) (?=(?:%|MACs|[kMGTP]|min|h|s|px)\b|%)|± (?=\d)|(?<=[:;,] )[A-Z] (?=[a-z])",
    re.MULTILINE,
)
"""What no line's end may tear: a command, which would not be pasted whole, a number and its unit, a letter and its meaning."""
HELD = "\0"  # in the place of a space at which no line may end
NARROWEST = 20  # columns; below, a terminal breaks lines as it likes


def printable(text: str) -> str:
    """The text with control characters written out, as \\x1b for an escape."""
    return UNSEEN.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def command(*arguments: object) -> str:
    """A command of ours that can be pasted into a shell as it is printed."""
    program = ["nas"] if shutil.which("nas") else ["python", "-m", "nas"]
    return pasteable(*program, *arguments)


def pasteable(*words: object) -> str:
    """Words as a shell takes them; a path that begins with a dash must not be read as an option."""
    return " ".join(_quoted(f"./{w}" if isinstance(w, Path) and str(w).startswith("-") else str(w)) for w in words)


def _quoted(word: str) -> str:
    """A word as a shell takes it; with what can't be shown by numbers, which bash and zsh read."""
    if not UNPASTEABLE.search(word):
        return shlex.quote(word)
    shown = "".join(chr(b) if 32 <= b < 127 and chr(b) not in "'\\" else f"\\x{b:02x}" for b in os.fsencode(word))
    return f"$'{shown}'"


def filled(text: str, width: int) -> str:
    """The text in lines of at most `width` columns that end between words; a command stays whole, if need be on its own line.

    What follows the first line is indented by two columns more; a word that is longer than a line is left to the terminal.
    """
    return "\n".join("\n".join(_lines(line, width)) for line in printable(text).split("\n")) if width >= NARROWEST else text


def _lines(text: str, width: int) -> Iterator[str]:
    """A line of text, broken between words where it is too wide."""
    words = text.lstrip(" ")
    indent = text[: len(text) - len(words)]
    first, *others = WHOLE.sub(lambda match: match[0].replace(" ", HELD), words).split(" ")
    line = first.replace(HELD, " ")
    for word in others:
        longer = f"{line} {word.replace(HELD, ' ')}"
        if cell_len(indent + longer) <= width:
            line = longer
            continue
        yield indent + line
        indent, line = text[: len(text) - len(words)] + "  ", word.replace(HELD, " ")
    yield indent + line


class Terminal(Console):
    """rich's console for text that may hold anything: brackets are no markup, colons no emoji, control characters written out.

    A `lasting` one belongs to work that must not end because a terminal, a pipe or a disk with its log is gone.
    """

    def __init__(self, *, lasting: bool = False, **options: Any):
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        self.lasting = lasting

    def render_str(self, text: str, **options: Any) -> Text:
        """Text for the screen; every string that is printed, in a table or outside, comes by here."""
        return super().render_str(printable(text), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, as rich's console does; with soft_wrap lines end between words on a terminal, and nowhere in a file."""
        with self._shielded():
            if options.get("soft_wrap") and self.is_terminal:
                objects = tuple(filled(o, self.width) if isinstance(o, str) else o for o in objects)
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Nobody reads any more: what is left to say is not said."""
        self.quiet = True

    @contextmanager
    def _shielded(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # of a disk that is full, of a closed pipe, of what rich can't draw
            if not self.lasting:
                raise


def _in_ascii(error: UnicodeError) -> tuple[str | bytes, int]:
    """What an encoding lacks in letters that it has."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(IN_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in letters), error.end


def write_anywhere() -> None:
    """From now on this process's output never fails for a character that the terminal's encoding lacks, nor where it is closed.

    A file that is opened later must not become the process's output either, as it would where a shell's `>&-` left room.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (as long as the process)
    codecs.register_error(PLAIN, _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=PLAIN)
