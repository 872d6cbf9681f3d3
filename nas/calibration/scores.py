"""Scores of networks that nobody trained, from one batch of images without labels; larger is better.

Zero-cost scores of the literature that need neither labels nor ReLU, so that attention and every activation have them. MACs and
params, which cost even less, are the control that each has to beat.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from nas.data.manifest import AnyManifest, load_split
from nas.errors import Infeasible
from nas.models.blocks import ChannelMLP, MetaFormerBlock
from nas.recipes.recipe import Proxy
from nas.space.architecture import Architecture
from nas.training.augment import normalised
from nas.training.proxy import fresh_network

IMAGES = 64  # of the training split, evenly spread, since it is sorted by class
TINY = 1e-5


def patterns(model: nn.Module, images: Tensor) -> float:
    """How differently images switch the units of the channel MLPs: NASWOT, log |det K| with K the number of units on which two
    images agree, summed over blocks. arXiv:2006.04647, section 3. 0 without an MLP."""
    kernel = torch.zeros(len(images), len(images))

    def add(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        codes = (inputs[0].flatten(1) > 0).float()
        kernel.add_(codes @ codes.T + (1 - codes) @ (1 - codes).T)

    mlps = [block.mlp for block in model.modules() if isinstance(block, MetaFormerBlock) and block.has_mlp]
    activations = [mlp.act if isinstance(mlp, ChannelMLP) else mlp.act1 for mlp in mlps]
    _passed(model, images, [activation.register_forward_pre_hook(add) for activation in activations])
    return float(torch.linalg.slogdet(kernel.double() + TINY * torch.eye(len(images)))[1]) if kernel.any() else 0.0


def expressivity(model: nn.Module, images: Tensor) -> float:
    """How evenly the blocks' features fill their space: entropy of the normalised eigenvalues of the channels' covariance,
    summed over blocks. AZ-NAS, arXiv:2403.19232, equation 2."""
    entropies: list[Tensor] = []

    def add(_: nn.Module, inputs: tuple[Tensor, ...], features: Tensor) -> None:
        flat = features.flatten(2).transpose(1, 2) if features.dim() == 4 else features  # (B, N, C)
        values = torch.linalg.eigvalsh(torch.cov(flat.flatten(0, 1).T.double())).clamp(min=0)
        shares = values / values.sum()
        entropies.append(-(shares * (shares + 1e-12).log()).sum())

    _passed(model, images, [m.register_forward_hook(add) for m in model.modules() if isinstance(m, MetaFormerBlock)])
    return float(torch.stack(entropies).sum())


def jacobian(model: nn.Module, images: Tensor) -> float:
    """How little the logits' gradients by different images resemble each other: -sum(log(v + k) + 1 / (v + k)) over the
    eigenvalues v of their correlations. arXiv:2006.04647, version 1, equation 3."""
    inputs = images.clone().requires_grad_()
    (gradients,) = torch.autograd.grad(model(inputs).sum(), inputs)
    values = torch.linalg.eigvalsh(torch.corrcoef(gradients.flatten(1).double()))
    return float(-((values + TINY).log() + 1 / (values + TINY)).sum())


SCORES: dict[str, Callable[[nn.Module, Tensor], float]] = {
    "patterns": patterns,
    "expressivity": expressivity,
    "jacobian": jacobian,
}


def scores_of(
    architecture: Architecture, recipe: Proxy, *, manifest: AnyManifest, seed: int, root: Path | None
) -> dict[str, float] | None:
    """Every score of the network as a training of that seed begins with it; None where the images do not suit it."""
    try:
        model = fresh_network(architecture, recipe, num_classes=len(manifest.class_names), seed=seed)
    except Infeasible:
        return None
    pixels = load_split(manifest, "train", image_size=recipe.full_size, root=root).pixels
    chosen = np.unique(np.linspace(0, len(pixels) - 1, IMAGES).astype(int))
    images = normalised(torch.from_numpy(pixels[chosen]), channels_last=recipe.channels_last)
    return {name: score(model.eval(), images) for name, score in SCORES.items()}


def _passed(model: nn.Module, images: Tensor, hooks: list) -> None:
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
