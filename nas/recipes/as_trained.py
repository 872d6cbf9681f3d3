"""The network that a recipe trains: an architecture with the recipe's stem and layer scale, on the recipe's images."""

from collections.abc import Mapping

from nas.config.values import validated
from nas.errors import ConfigError, Infeasible
from nas.recipes.recipe import Proxy, Recipe
from nas.space.architecture import Architecture
from nas.space.cost import feature_sides


def as_trained(architecture: Architecture, recipe: Recipe) -> Architecture:
    """The architecture with the recipe's stem stride and layer scale; ConfigError where the stem would skip pixels."""
    changed = architecture.to_dict()
    if recipe.stem_stride is not None:
        changed["stem_stride"] = recipe.stem_stride
    if recipe.layer_scale is not None:
        changed["stages"] = [{**stage, "layer_scale": recipe.layer_scale or None} for stage in changed["stages"]]
    return validated(Architecture, changed, where=f"the recipe's stem_stride {recipe.stem_stride}")


def check_sizes(recipe: Proxy, architectures: Mapping[str, Architecture], *, where: str) -> None:
    """ConfigError with the dotted path, which begins with `where`, unless the recipe's images suit every network."""
    grows = recipe.size_at(1) != recipe.full_size
    for name, architecture in architectures.items():
        if grows and architecture.needs_fixed_resolution:
            raise ConfigError(
                f"{where}.image_size: must be one size for weights that belong to positions, as {name} has them, but got "
                f"{[recipe.size_at(1), recipe.full_size]}. Give one size, or leave {name} out."
            )
        try:
            feature_sides(as_trained(architecture, recipe), image_size=recipe.size_at(1))
        except Infeasible as error:
            raise ConfigError(f"{where}.image_size: must suit every network, but {name} does not fit: {error}") from None
        except ConfigError as error:
            raise ConfigError(f"{where}.stem_stride: must suit every network, but {name} does not fit: {error}") from None
