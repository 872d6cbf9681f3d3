"""A trained network of a run, or of a retraining, as an exported directory."""

from collections.abc import Sequence
from pathlib import Path

from nas.data.manifest import MEAN, STD
from nas.export.directory import Description, export_network
from nas.export.level import Level
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
    recipe, manifest = trained.recipe, trained.manifest
    origin = {**trained.provenance, "data": recipe.data, "image_size": recipe.full_size}
    description = Description(
        manifest.class_names,
        MEAN,
        STD,
        origin,
        crop_pct=trained.crop_pct,
        interpolation=trained.interpolation,
        notes=trained.notes,
        bits=manifest.bits,
        white=manifest.white,
        license=license_name,
    )
    return export_network(
        trained.architecture,
        read_weights(trained.weights),
        out,
        description,
        image_size=image_size or recipe.full_size,
        num_classes=len(manifest.class_names),
        formats=formats,
        force=force,
        seen=trained.seen,
    )
