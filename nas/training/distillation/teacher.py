"""Who teaches: a network's logits for images that are normalised and classes that are ordered as the training's."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nas.data.manifest import MEAN, STD
from nas.errors import ConfigError
from nas.models.weights import weights_digest
from nas.recipes.recipe import Recipe
from nas.training.trained import Network, load_network


def teacher_of(recipe: Recipe, *, num_classes: int, class_names: Sequence[str] = ()) -> "Renormalised":
    """The teacher in eval mode, for images normalised and classes ordered as ours; ConfigError where there is none, or another
    one than the recipe's digest says."""
    settings = recipe.distillation
    assert settings is not None, "only a recipe with distillation has a teacher"
    try:
        with torch.random.fork_rng(devices=[]):  # a network draws weights before it is given its own
            network = load_network(
                settings.teacher, weights=settings.weights, image_size=recipe.full_size, num_classes=num_classes
            )
    except ConfigError as error:
        raise ConfigError(f"distillation.teacher: {error}") from None
    if settings.digest not in (None, digest := digest_of_teacher(network)):
        raise ConfigError(
            f"distillation.digest: must be {digest}, the digest of the teacher {settings.teacher} at {network.image_size} px, "
            f"but got {settings.digest}: it is not the teacher that was begun with. Put that one back; or begin anew, in "
            "another --out, with proxy.distillation.digest=null."
        )
    own_order = network._replace(model=_for_classes(network, class_names))
    return Renormalised(own_order, digest=digest).requires_grad_(False).eval()


def digest_of_teacher(network: Network) -> str:
    """Sixteen hexadecimal digits that are equal for networks that answer alike, wherever they lie: what they compute with which
    weights, and of which images."""
    content = repr((network.key, network.mean, network.std, weights_digest(network.model.state_dict())))
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _for_classes(network: Network, class_names: Sequence[str]) -> nn.Module:
    """The network with logits for these classes in their order, where it knows them all, by name or by WordNet's id."""
    for names in (network.class_names or (), network.class_ids or ()):
        if class_names and set(class_names) <= set(names):
            order = [names.index(name) for name in class_names]
            return network.model if order == list(range(len(names))) else OfClasses(network.model, order)
    return network.model


class OfClasses(nn.Module):
    """A network that answers for some of its classes only."""

    order: Tensor

    def __init__(self, network: nn.Module, order: list[int]):
        super().__init__()
        self.network = network
        self.register_buffer("order", torch.tensor(order))  # (classes,)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)[:, self.order]


class Renormalised(nn.Module):
    """A network for images that are normalised with our mean and deviation instead of its own; `digest` says which it is."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: Network, *, digest: str = ""):
        super().__init__()
        self.network, self.digest = network.model, digest
        ours, theirs = (torch.tensor([mean, std]) for mean, std in ((MEAN, STD), (network.mean, network.std)))  # (2, 3)
        self.register_buffer("scale", (ours[1] / theirs[1])[:, None, None])  # (3, 1, 1)
        self.register_buffer("shift", ((ours[0] - theirs[0]) / theirs[1])[:, None, None])  # (3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x * self.scale + self.shift)
