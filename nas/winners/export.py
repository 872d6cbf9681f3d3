"""A trained network of a run, or of a retraining, as an exported directory."""

from collections.abc import Sequence
from pathlib import Path

from nas.data.manifest import MEAN, STD
from nas.export.directory import Description, export_network
from nas.export.level import Level
from nas.recipes.by_size import at_size
from nas.recipes.full import FullRecipe
from nas.training.trained import read_weights
from nas.winners.lookup import Trained


def export_trained(
    trained: Trained,
    out: Path,
    *,
    image_size: int | None = None,
    formats: Sequence[str] = (),
    license_name: str = "unknown",
    force: bool = False,
) -> Level:
    """Makes the directory `out` and returns its level; NasError as for `export_network`."""
    recipe = trained.recipe
    loader = recipe.loader if isinstance(recipe, FullRecipe) else None  # without one a network sees whole images
    origin = {**trained.provenance, "data": recipe.data, "image_size": recipe.full_size}
    crop = at_size(loader.test_crop, trained.architecture) if loader else 1.0
    return export_network(
        trained.architecture,
        read_weights(trained.weights),
        out,
        Description(trained.class_names, MEAN, STD, origin, crop_pct=crop, license=license_name),
        image_size=image_size or recipe.full_size,
        num_classes=len(trained.class_names),
        formats=formats,
        force=force,
    )
