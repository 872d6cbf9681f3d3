"""Where names stand beside their points so that they do not cover each other."""

from collections.abc import Sequence

LETTER, LINE = 0.009, 0.05  # width of a letter and height of a line, as shares of a figure
PLACES = ("top", "bottom", "left", "right")


def places(points: Sequence[tuple[float, float]], names: Sequence[str]) -> list[str]:
    """For each name the side of its point, of PLACES, at which it covers no earlier name and stays inside the figure.

    `points` are shares of the figure's width and height; where every side is taken, it is the first.
    """
    taken: list[tuple[float, float, float, float]] = []
    chosen = []
    for point, name in zip(points, names, strict=True):
        boxes = {place: _box(point, name, place) for place in PLACES}
        free = [place for place, box in boxes.items() if _inside(box) and not any(_overlap(box, other) for other in taken)]
        chosen.append((free or PLACES)[0])
        taken.append(boxes[chosen[-1]])
    return chosen


def _box(point: tuple[float, float], name: str, place: str) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a name at a side of its point."""
    x, y = point
    width = LETTER * len(name)
    if place in ("left", "right"):
        left = x - width - 2 * LETTER if place == "left" else x + 2 * LETTER
        return left, left + width, y - LINE / 2, y + LINE / 2
    bottom = y + LINE / 2 if place == "top" else y - 1.5 * LINE
    return x - width / 2, x + width / 2, bottom, bottom + LINE


def _inside(box: tuple[float, float, float, float]) -> bool:
    return box[0] >= 0 and box[1] <= 1 and box[2] >= 0 and box[3] <= 1


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
