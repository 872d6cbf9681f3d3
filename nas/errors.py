"""What can go wrong that a user can fix: the command line prints it as one message and exits with code 2."""

from difflib import get_close_matches

MANY = 20


class NasError(Exception):
    """The rule, then the value, then the way out."""


class ConfigError(NasError):
    """A value in a YAML file, an argument or a run folder breaks a rule; the message names where it stands."""


class Infeasible(NasError):
    """No architecture, or not the one asked for, can meet the constraints."""


def unknown(kind: str, name: object, names) -> str:
    """The message for a name that does not exist: the nearest ones first, then all of them, or some where they are many."""
    known = [str(n) for n in names]
    near = get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    listed = ", ".join(known[:MANY]) + (f" and {len(known) - MANY:,} more" if len(known) > MANY else "")
    return f"unknown {kind} {str(name)!r}{hint}" + ("" if near and len(known) > MANY else f" Known: {listed}")
