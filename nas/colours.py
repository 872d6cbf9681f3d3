"""Colours that colour-blind readers can tell apart (Okabe and Ito), the same in every picture."""

BLUE, ORANGE, DARK_ORANGE, GREY, PINK, GREEN = "#0072b2", "#d55e00", "#a34700", "#9aa5b1", "#cc79a7", "#009e73"

CELLS = (
    "#56b4e9", "#d5dbe1", "#f0e442", "#e69f00", "#c9c29a", "#cc79a7",
    "#4fc3a1", "#e2875a", "#b39ddb", "#a5c86f", "#bc9a80", "#7fb3b0",
)  # fmt: skip
"""Light enough for dark letters on them; the mixers have them in their order."""


def as_drawn(name: str) -> str:
    """A name from outside as a picture shows it: a dollar in it begins no formula."""
    return name.replace("$", r"\$")
