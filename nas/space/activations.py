"""The table of activations. The exporter writes the rows of an architecture's activations into the model it makes."""

from typing import NamedTuple


class Activation(NamedTuple):
    """An activation function of the channel MLP, and of mixers that have one."""

    module: str
    """A class of `nas.models.blocks`, or of torch.nn; timm's class for it has the same name."""
    params: int = 0
    """That it learns."""


ACTIVATIONS = {
    "gelu": Activation("GELU"),
    "relu": Activation("ReLU"),
    "silu": Activation("SiLU"),
    "star_relu": Activation("StarReLU", params=2),
    "squared_relu": Activation("SquaredReLU"),
}
