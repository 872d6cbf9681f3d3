"""Norms of both layouts, by the names in their table. The exporter copies this file into the models it writes."""

import torch.nn.functional as F
from timm.layers import GroupNorm1, LayerNorm2d
from torch import Tensor, nn

from nas.space.norms import NORMS

EPS = {True: 1e-5, False: 1e-6}  # with bias as in PoolFormer's code, without as in that of MetaFormer Baselines


class TokenGroupNorm(GroupNorm1):
    """Norm of `(B, N, C)` over positions and channels: the modified layer norm of arXiv:2111.11418, table 5."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x, x.shape[1:], eps=self.eps) * self.weight
        return x if self.bias is None else x + self.bias


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm of `(B, N, C)`, by the function that torch.fx and TorchScript know."""

    num_batches_tracked: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.num_batches_tracked.add_(1)
        x = F.batch_norm(
            x.transpose(1, 2), self.running_mean, self.running_var, self.weight, self.bias, self.training, eps=self.eps
        )  # (B, C, N)
        return x.transpose(1, 2)


MODULES = (GroupNorm1, LayerNorm2d, nn.LayerNorm, nn.BatchNorm2d, TokenGroupNorm, TokenBatchNorm)


def norm(kind: str, width: int, *, bias: bool, tokens: bool = False) -> nn.Module:
    """The norm of that kind, which keeps its input's shape; the identity where it has no module."""
    row = NORMS[kind]
    name = row.token_module if tokens else row.map_module
    if name is None:
        return nn.Identity()
    layer = next(module for module in MODULES if module.__name__ == name)(width, eps=EPS[bias])
    if not bias:
        layer.register_parameter("bias", None)
    return layer
