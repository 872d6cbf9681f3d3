"""Colours that colour-blind readers can tell apart (Okabe and Ito), the same in every picture."""

BLUE, ORANGE, DARK_ORANGE, GREY, PINK, GREEN = "#0072b2", "#d55e00", "#a34700", "#9aa5b1", "#cc79a7", "#009e73"
