"""What a training minimises: a loss of a network on a batch. Distillation (`distill.py`) puts more beside the labels."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional

from nas.recipes.recipe import Recipe


class Batch(NamedTuple):
    """What one step sees."""

    images: Tensor
    """Normalised and augmented, `(B, 3, H, W)`."""
    share: float
    """Of each image in what it became; the rest is its partner's."""
    labels: Tensor
    """int64 `(B,)`, of the images before they were mixed."""
    partners: Tensor
    """int64 `(B,)`, of the images that they were mixed with."""
    weight: float = 1.0
    """Of each image in the loss: 0 where a process only keeps step with others that have more."""

    def pieces(self, number: int) -> "list[Batch]":
        """The batch in so many parts of nearly equal size."""
        parts = zip(*(tensor.tensor_split(number) for tensor in (self.images, self.labels, self.partners)), strict=True)
        return [self._replace(images=images, labels=labels, partners=partners) for images, labels, partners in parts]


Forward = Callable[[Tensor], Tensor]
"""A network, as it is or compiled: logits of images."""
Loss = Callable[[Forward, Batch], Tensor]
"""Runs the network on the batch; called inside autocast, so it takes logits to float32 before it reduces them."""


def labels_only(recipe: Recipe) -> Loss:
    """The loss of a training without a teacher."""
    return lambda model, batch: label_loss(model(batch.images), batch, recipe)


def label_loss(logits: Tensor, batch: Batch, recipe: Recipe) -> Tensor:
    """Smoothed cross-entropy with the labels, of both images where they are mixed. arXiv:1710.09412, section 2."""
    loss = _cross_entropy(logits, batch.labels, recipe)
    if batch.share == 1:
        return loss
    return batch.share * loss + (1 - batch.share) * _cross_entropy(logits, batch.partners, recipe)


def _cross_entropy(logits: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
    return functional.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
