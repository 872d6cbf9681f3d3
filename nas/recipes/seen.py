"""What a recipe's training can see of a space: the sides of its maps, and which choices make no difference on them."""

from functools import cached_property
from typing import NamedTuple

from nas.errors import few
from nas.recipes.as_trained import as_trained
from nas.recipes.recipe import Recipe
from nas.space.architecture import Architecture
from nas.space.geometry import map_sides
from nas.space.maps import SMALL_SIDE, is_told_apart, simplest
from nas.space.search_space import SearchSpace


class _Fields(NamedTuple):
    space: SearchSpace
    recipe: Recipe


class SeenSpace(_Fields):
    """A space as a recipe trains it."""

    def sides_of(self, architecture: Architecture) -> list[int]:
        """Side of each stage's map at the end of the training, when images are largest."""
        return map_sides(as_trained(architecture, self.recipe), self.recipe.full_size)

    def simplest(self, architecture: Architecture) -> Architecture:
        """The cheapest architecture of the space that computes the same on these maps."""
        return simplest(architecture, self.space, self.sides_of(architecture))

    @cached_property
    def sides(self) -> list[int]:
        """Side of each stage's map, the largest that some architecture has."""
        strides = [self.recipe.stem_stride] if self.recipe.stem_stride else self.space.stem_strides
        narrow = self.space.draw(lambda name, options: min(strides) if name == "stem_stride" else options[0])
        return self.sides_of(narrow)

    def is_told_apart(self, axis: str) -> bool:
        """Whether an open choice of the space makes a difference in such trainings."""
        stage, _, field = axis.partition(".")
        if not field:
            return True
        number = int(stage.removeprefix("stage"))
        return is_told_apart(self.space, number, field, self.sides[number - 1])

    @property
    def remarks(self) -> list[str]:
        """What there is to say of maps on which token mixers can show little, and the way out; nothing where all are large."""
        small = [(number, side) for number, side in enumerate(self.sides, start=1) if side <= SMALL_SIDE]
        if not small:
            return []
        maps = " and ".join(f"stage {number} has maps of {side} x {side}" for number, side in small)
        size = self.recipe.full_size
        lines = [
            f"At {size} px {maps}: token mixers can show little there, and what they would do on larger images is not asked. "
            f"Train on larger images (proxy.image_size), or with a finer stem (proxy.stem_stride)."
        ]
        idle = [axis for axis in self.space.axes if not self.is_told_apart(axis)]
        if idle:
            lines.append(f"Not asked on these maps, and so credited with no effect: {few(idle, most=len(idle))}.")
        return lines
