"""A proxy training by its name: what a driver hands to its workers without loading torch, which takes seconds, itself."""

from pathlib import Path
from typing import TYPE_CHECKING

from nas.callbacks import ignore
from nas.data.manifest import AnyManifest
from nas.recipes.recipe import Proxy
from nas.space.architecture import Architecture
from nas.training.curve import OnEpoch, OnStart, Outcome

if TYPE_CHECKING:
    import torch


def train_remotely(
    architecture: Architecture,
    recipe: Proxy,
    manifest: AnyManifest,
    *,
    seed: int,
    device: "str | torch.device" = "cpu",
    on_start: OnStart = ignore,
    on_epoch: OnEpoch = ignore,
    weights: Path | None = None,
    checkpoint: Path | None = None,
    root: Path | None = None,
) -> Outcome:
    """`nas.training.proxy.train_proxy`, loaded where it is called."""
    from nas.training.proxy import train_proxy

    return train_proxy(
        architecture,
        recipe,
        manifest,
        seed=seed,
        device=device,
        on_start=on_start,
        on_epoch=on_epoch,
        weights=weights,
        checkpoint=checkpoint,
        root=root,
    )
