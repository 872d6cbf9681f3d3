"""Which of the images drawn are trained on, judged by and tested on, so that no image stands in two of them under two names."""

from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from nas.data.source import Ignored, Pool
from nas.errors import few
from nas.recipes.recipe import Recipe

Split = Literal["train", "validation", "test"]
JUDGED_SPLITS: tuple[Split, ...] = ("validation", "test")
"""By whose images networks are judged."""
Splits = dict[Split, dict[str, list[str]]]  # ids by split and class


class Copies(NamedTuple):
    """What became of files with equal contents."""

    left_out: Ignored = ()
    """Images that are copies of one in another split, each with the reason."""
    notes: tuple[str, ...] = ()


def split_up(drawn: Pool, test: Pool, recipe: Recipe, *, checksums: Mapping[str, int], own_test: bool) -> tuple[Splits, Copies]:
    """Drawn images by split. Of equal files one split has all that stay; `checksums` tell them, where they were looked at.

    Validation takes the first of each class whose contents are new to it, training what is left of other contents. A test split
    of the data's own (`own_test`) loses its copies; one that is set aside here keeps them and training loses its own.
    """
    contents = {} if recipe.keep_copies else checksums
    claims = _Claims(contents)
    splits: Splits = {"train": {}, "validation": {}, "test": {}}
    if not own_test:
        splits["test"] = {name: claims.distinct(ids, "test") for name, ids in test.items()}
    for name, ids in drawn.items():
        most = _num_held_out(len(ids), recipe.validation_share)
        splits["validation"][name] = claims.distinct(ids, "validation", most=most)
    for name, ids in drawn.items():
        splits["train"][name] = claims.rest([i for i in ids if i not in claims.taken], "train")
    if own_test:
        splits["test"] = {name: claims.distinct(ids, "test") for name, ids in test.items()}
    return splits, Copies(tuple(sorted(claims.left_out.items())), tuple(_notes(claims, splits, contents)))


class _Claims:
    """Which split has which contents."""

    def __init__(self, contents: Mapping[str, int]):
        self.contents = contents
        self.first: dict[int, tuple[str, str]] = {}
        """By contents the split that has them, and the first image there."""
        self.taken: set[str] = set()
        self.left_out: dict[str, str] = {}

    def distinct(self, ids: list[str], split: str, *, most: int | None = None) -> list[str]:
        """The first of `ids` whose contents nobody has, one for each; the others are left out if all are asked for."""
        chosen: list[str] = []
        for i in ids:
            if len(chosen) == most:
                break
            if self._is_free(i):
                self._take(i, split)
                chosen.append(i)
            elif most is None:
                self._leave(i)
        return chosen

    def rest(self, ids: list[str], split: str) -> list[str]:
        """Those of `ids` whose contents no other split has."""
        chosen = []
        for i in ids:
            if self._is_free(i) or self.first[self.contents[i]][0] == split:
                self._take(i, split)
                chosen.append(i)
            else:
                self._leave(i)
        return chosen

    def _is_free(self, i: str) -> bool:
        return i not in self.contents or self.contents[i] not in self.first

    def _take(self, i: str, split: str) -> None:
        self.taken.add(i)
        if i in self.contents:
            self.first.setdefault(self.contents[i], (split, i))

    def _leave(self, i: str) -> None:
        split, other = self.first[self.contents[i]]
        self.left_out[i] = f"a copy of {other}, which is in {split}"


def _num_held_out(number: int, share: float) -> int:
    """Of so many images: that share, at least one and not all; none of a share of 0."""
    return min(max(1, round(number * share)), number - 1) if share else 0


def _notes(claims: _Claims, splits: Splits, contents: Mapping[str, int]) -> Iterator[str]:
    """What is said of copies."""
    if claims.left_out:
        yield (
            f"{len(claims.left_out):,} copies of images in another split are left out (--set proxy.keep_copies=true for a "
            "search, --set keep_copies=true for a retraining takes them)"
        )
    untested = [name for name, ids in splits["test"].items() if not ids]
    if claims.left_out and untested:
        yield f"no image to test on is left of {few(untested, most=3)}: a retraining needs some"
    classes: dict[int, set[str]] = {}
    number = 0
    for name, ids in splits["train"].items():
        for i in ids:
            if i in contents:
                number += contents[i] in classes
                classes.setdefault(contents[i], set()).add(name)
    if number:
        torn = sum(len(names) > 1 for names in classes.values())
        several = f"; {torn:,} images stand in several classes" if torn else ""
        yield f"{number:,} images to train on are copies of others there{several}"
