"""Tables as CSV that a spreadsheet can open: what comes from outside is text there, never a formula."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

FORMULA = re.compile(r"\s*[=+\-@\t\r＝＋－＠]")
"""How a cell begins that a spreadsheet computes. https://owasp.org/www-community/attacks/CSV_Injection"""
MARK = "'"  # before such a text: a spreadsheet shows what is behind it


def as_cell(value: Any) -> Any:
    """A value as it stands in a table; a text that a spreadsheet would compute has a mark before it, a number has none."""
    if not isinstance(value, str) or not FORMULA.match(value):
        return value
    try:
        float(value)
    except ValueError:
        return MARK + value
    return value


def from_cell(text: str) -> str:
    """The text that `as_cell` wrote."""
    return text[1:] if text.startswith(MARK) and FORMULA.match(text[1:]) else text


def as_cells(table: "pd.DataFrame") -> "pd.DataFrame":
    """The table as it is written into CSV."""
    texts = table.select_dtypes(exclude=["number", "bool", "datetime", "datetimetz"]).columns
    return table.assign(**{name: table[name].map(as_cell) for name in texts}).rename(columns=as_cell)
