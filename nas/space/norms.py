"""The table of norms: everything that the rest asks about one stands in its row.

The exporter writes the rows of an architecture's norms into the model it makes, so a row is plain data.
"""

from typing import NamedTuple


class Norm(NamedTuple):
    """A norm of a block's two branches. Modules are named as in `nas.models.norms`."""

    map_module: str | None
    """The module that norms `(B, C, H, W)`; None leaves the branch as it is."""
    token_module: str | None
    """The module that norms `(B, N, C)`."""
    fvcore_operations: int
    """That fvcore counts for each entry of its input (fvcore/nn/jit_handles.py)."""
    stores_statistics: bool = False
    """Mean and variance at inference are stored ones, not those of the image."""

    @property
    def has_weights(self) -> bool:
        """Whether it learns a factor a channel, and a summand where `norm_bias` is set."""
        return self.map_module is not None


NORMS = {
    "group": Norm("GroupNorm1", "TokenGroupNorm", 5),
    "layer": Norm("LayerNorm2d", "LayerNorm", 5),
    "batch": Norm("BatchNorm2d", "TokenBatchNorm", 2, stores_statistics=True),
    "none": Norm(None, None, 0),
}
