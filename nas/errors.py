"""What can go wrong that a user can fix: the command line prints it as one message and exits with code 2."""

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from nas.passwords import without_password

MANY_KNOWN = 20
CAUSE_LENGTH = 300
MAX_SHOWN = 200  # letters of a user's value in a message
LONG_WORD = re.compile(r"\S{500,}")  # longer than any path that people type


class NasError(Exception):
    """The rule, then the value, then the way out."""


class ConfigError(NasError):
    """A value in a YAML file, an argument or a run folder breaks a rule; the message names where it stands."""


class Infeasible(NasError):
    """No architecture, or not the one asked for, can meet the constraints."""


def in_one_line(error: object, *, most: int = CAUSE_LENGTH) -> str:
    """The text of an error in one line of at most so many characters; the name of its kind where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def shortened(text: str) -> str:
    """The text of a user's value as messages show it: cut where it is long, and without a password."""
    text = without_password(text)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"


def without_long_words(message: str) -> str:
    """A message in which no word, such as a path that is none, is longer than a screen is wide."""
    return LONG_WORD.sub(lambda match: f"{match[0][:MAX_SHOWN]}…", message)


def unknown(kind: str, name: object, names: Iterable[object]) -> str:
    """A sentence for a name that does not exist: the nearest ones first, then all of them, or some where they are many."""
    listed = [str(n) for n in names]
    near = get_close_matches(str(name), listed, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    known_names = "" if near and len(listed) > MANY_KNOWN else f" Known: {few(listed, most=MANY_KNOWN)}."
    return f"unknown {kind} {shortened(str(name))!r}{hint}{known_names}"


def few(names: Sequence[str], *, most: int, between: str = ", ") -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return between.join(names[:most]) + more
