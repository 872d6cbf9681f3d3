"""Which images of a data set can be decoded, and what becomes of those that can't."""

import hashlib
from collections.abc import Iterable

import numpy as np

from nas.data.cache import Scratch, check_room
from nas.data.decoding import EIGHT_BITS, SIXTEEN_BITS, OnDecoded, PixelFacts, Rendering, decoded
from nas.data.source import Pool, Source
from nas.errors import ConfigError


class Inspector:
    """Decodes each candidate once; keeps rows and checksums of the good and the reasons of the bad."""

    def __init__(self, source: Source, scratch: Scratch, rendering: Rendering, on_decoded: OnDecoded):
        self.source, self.scratch, self.rendering, self.on_decoded = source, scratch, rendering, on_decoded
        self.checksums: dict[str, int] = {}
        self.facts: dict[str, PixelFacts] = {}
        self.rows: dict[str, int] = {}
        """Where the pixels of an image lie in the scratch file."""
        self.reasons: dict[str, str] = {}

    def first_readable(self, rest: Pool, test: Pool, number: int | None) -> tuple[Pool, Pool]:
        """The first `number` of each class's `rest` that can be decoded (all of them for None) and all such of `test`."""
        asked = [i for ids in test.values() for i in ids]
        while asked := asked + [i for ids in rest.values() for i in self._next(ids, number)]:
            self._try(asked, self.rendering)
            asked = []
        return self._readable(rest), self._readable(test)

    def _readable(self, pool: Pool) -> Pool:
        return {name: self._good(ids) for name, ids in pool.items()}

    def _good(self, ids: list[str]) -> list[str]:
        return [i for i in ids if i in self.checksums]

    def _next(self, ids: list[str], number: int | None) -> list[str]:
        """What to try so that `number` of `ids` are good, as long as there are any left."""
        missing = None if number is None else number - len(self._good(ids))
        return [i for i in ids if i not in self.checksums and i not in self.reasons][:missing]

    def decode_in_full(self, ids: list[str]) -> None:
        """Once more those that were decoded at a smaller size than their own: what a network is judged by is exact."""
        scaled = [i for i in ids if self.facts[i].is_scaled]
        if scaled:
            self._try(scaled, self.rendering._replace(scaled=False))

    def _try(self, ids: list[str], rendering: Rendering) -> None:
        size = self.scratch.image_size
        check_room(self.scratch.room(len(ids)))
        places, read = [*map(self.source.place, ids)], self.source.read
        images = decoded(places, read, size=size, rendering=rendering, on_decoded=self.on_decoded)
        for name, image in zip(ids, images, strict=True):
            if image.pixels is None:
                self.reasons[name] = image.reason
            else:
                self.checksums[name], self.facts[name] = image.checksum, image.facts
                self.rows[name] = self.scratch.add(image.pixels)

    @property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """What can't be decoded, sorted, each with its reason."""
        return tuple(sorted(self.reasons.items()))

    def refuse_above(self, share: float) -> None:
        """ConfigError when more than `share` of what was tried can't be decoded."""
        tried = len(self.checksums) + len(self.reasons)
        if self.reasons and len(self.reasons) > share * tried:
            names = "; ".join(f"{name}: {why}" for name, why in self.unreadable[:3])
            raise ConfigError(
                f"at most {share:.1%} of the images may be unreadable (unreadable_share), but {len(self.reasons)} of {tried}"
                f" are: {names}{'; …' if len(self.reasons) > 3 else ''}. Mend or remove them, or raise unreadable_share."
            )

    def checksum(self, ids: list[str]) -> str:
        """Twelve hexadecimal digits over the contents of `ids`, in that order."""
        lower_halves = [self.checksums[i] & 0xFFFFFFFF for i in ids]
        return hashlib.sha256(np.array(lower_halves, dtype=">u4").tobytes()).hexdigest()[:12]

    def notes(self, ids: Iterable[str]) -> tuple[str, ...]:
        """What a user should know of these images: more than 8 bits, values that come out dark, one colour throughout."""
        facts = {i: self.facts[i] for i in ids}
        deep = [f for f in facts.values() if f.bits > 8]
        plain = [i for i, f in facts.items() if f.is_plain]
        drawn_in_alpha = [i for i, f in facts.items() if f.in_alpha_only]
        notes = [*_of_depth(deep, self.rendering.white), *_too_dark([f.top for f in facts.values() if f.bits == 8])]
        if drawn_in_alpha:
            notes.append(
                f"{len(drawn_in_alpha):,} images are drawn in their transparency alone, which is dropped, such as "
                f"{drawn_in_alpha[0]}: nothing is left to see. Put them on a background first"
            )
        elif plain:
            notes.append(f"{len(plain):,} images have one colour throughout as they are read, such as {plain[0]}")
        return tuple(notes)


def _of_depth(deep: list[PixelFacts], white: int | None) -> list[str]:
    """What is said of images with more than 8 bits."""
    if not deep:
        return []
    top, bits = max(f.top for f in deep), " or ".join(str(bits) for bits in sorted({f.bits for f in deep}))
    notes = [
        f"{len(deep):,} images have {bits} bits a channel: they are scaled so that {white or SIXTEEN_BITS:,} is white, where "
        "timm's own loaders would cut them off at 255"
    ]
    if white is not None and top > white:
        brighter = sum(f.top > white for f in deep)
        notes.append(f"{brighter:,} of them hold values above white={white:,}, up to {top:,}, which are cut off")
    elif 2 * top < (white or SIXTEEN_BITS):
        notes.append(_dark(top))
    return notes


def _too_dark(tops: list[int]) -> list[str]:
    """What is said of images with 8 bits that use few of their values."""
    return [_dark(max(tops))] if tops and 2 * max(tops) < EIGHT_BITS else []


def _dark(top: int) -> str:
    nearest = 2 ** max(top, 1).bit_length() - 1
    return (
        f"no image uses a value above {top:,}, so all come out dark: if {nearest:,} is white there, say so (--set "
        f"proxy.white={nearest} and another --out for a search, --set white={nearest} for a retraining)"
    )
