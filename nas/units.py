"""Numbers as people write and read them: 2.0G, 1.82 G, 93.4 %, 3 h 12 min."""

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator

from nas.errors import ConfigError

UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
HOURS = {"h": 1.0, "min": 1 / 60, "m": 1 / 60, "d": 24.0, None: 1.0}
LARGEST = 10**18  # of what people count


def quantity(text: Any) -> Any:
    """A count as people write it ("2.0G", "20M") as a number; anything else is left for the type check."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([kMGTP]?)\s*", text) if isinstance(text, str) else None
    number = float(match[1]) * UNITS.get(match[2], 1) if match else math.inf
    return round(number) if math.isfinite(number) else text


def _counted(written: Any) -> Any:
    value = quantity(written)
    if isinstance(value, str):
        raise ValueError("must be a whole number, or one with a unit such as 2.5M or 0.3G")
    if isinstance(value, int) and value > LARGEST:
        raise ValueError("must be at most 1000P")
    return value


Quantity = Annotated[int, BeforeValidator(_counted)]


def hours_in(text: str, *, where: str) -> float:
    """Hours in a duration such as 24h, 90min or 2d; ConfigError, which says `where` it stands, if it is none."""
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*(h|min|m|d)?\s*", text)
    if match is None or not 0 < (hours := float(match[1]) * HOURS[match[2]]) < math.inf:
        rule = f"must be a duration such as 24h, 90min or 2d, but got {text!r:.50}"
        raise ConfigError(f"{where}: {rule}. Write a number and its unit.")
    return hours


def percent(share: float | None) -> str:
    """An accuracy with one decimal."""
    return "-" if share is None else f"{100 * share:.1f} %"


def count(number: float) -> str:
    """A large count with three digits and its unit."""
    for unit, size in reversed(UNITS.items()):
        if number >= 0.9995 * size:  # 999,600 are 1.00 M
            scaled = number / size
            return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {unit}"
    return f"{number:g}"


def milliseconds(number: float) -> str:
    """Milliseconds as the cell of a column that says so; seconds, with their unit, where they are many."""
    if number < 999.95:
        return f"{number:.1f}"
    return f"{number / 1000:.3g} s" if number < 90_000 else duration(number / 1000)


def duration(seconds: float) -> str:
    """A duration in its two largest units; a short one with two digits, so that no time is none."""
    if 0 < seconds < 0.001:
        return "under 1 ms"
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
