"""Which images of a data set can be decoded, and what becomes of those that can't."""

import hashlib

import numpy as np

from nas.data.cache import Scratch, check_room
from nas.data.decoding import OnDecoded, decoded
from nas.data.source import Pool, Source
from nas.errors import ConfigError


class Inspector:
    """Decodes each candidate once; keeps rows and checksums of the good and the reasons of the bad."""

    def __init__(self, source: Source, scratch: Scratch, on_decoded: OnDecoded):
        self.source, self.scratch, self.on_decoded = source, scratch, on_decoded
        self.checksums: dict[str, int] = {}
        self.rows: dict[str, int] = {}
        """Where the pixels of an image lie in the scratch file."""
        self.reasons: dict[str, str] = {}

    def first_readable(self, rest: Pool, test: Pool, number: int | None) -> tuple[Pool, Pool]:
        """The first `number` of each class's `rest` that can be decoded (all of them for None) and all such of `test`."""
        asked = [i for ids in test.values() for i in ids]
        while asked := asked + [i for ids in rest.values() for i in self._next(ids, number)]:
            self._try(asked)
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

    def _try(self, ids: list[str]) -> None:
        size = self.scratch.image_size
        check_room(2 * len(ids) * 3 * size**2)  # once as they come, once in their order
        images = decoded([*map(self.source.place, ids)], self.source.read, size=size, on_decoded=self.on_decoded)
        for name, image in zip(ids, images, strict=True):
            if image.pixels is None:
                self.reasons[name] = image.reason
            else:
                self.checksums[name], self.rows[name] = image.checksum, self.scratch.add(image.pixels)

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
        return hashlib.sha256(np.array([self.checksums[i] for i in ids], dtype=">u4").tobytes()).hexdigest()[:12]
