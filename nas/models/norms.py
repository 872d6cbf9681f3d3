"""Norms of both layouts, by the names in their table. The exporter copies this file into the models it writes."""

import torch.nn.functional as F
from timm import layers
from torch import Tensor, nn
from torch.fx import wrap

from nas.models.operators import group_norm, layer_norm
from nas.space.norms import NORMS

EPS = {True: 1e-5, False: 1e-6}  # with bias as in PoolFormer's code, without as in that of MetaFormer Baselines

for _operator in ("group_norm", "layer_norm"):
    wrap(_operator)  # one node in torch.fx's graphs: what they ask of their input only a tensor can answer


class LayerNorm(nn.LayerNorm):
    """Layer norm of the channels of `(B, N, C)`."""

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class LayerNorm2d(layers.LayerNorm2d):
    """Layer norm of the channels of `(B, C, H, W)`."""

    def forward(self, x: Tensor) -> Tensor:
        normed = layer_norm(x.permute(0, 2, 3, 1), self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class GroupNorm1(layers.GroupNorm1):
    """Norm of `(B, C, H, W)` over positions and channels: the modified layer norm of arXiv:2111.11418, table 5."""

    def forward(self, x: Tensor) -> Tensor:
        return group_norm(x, self.weight, self.bias, self.eps)


class TokenGroupNorm(GroupNorm1):
    """The same of `(B, N, C)`."""

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


MODULES = (GroupNorm1, LayerNorm2d, LayerNorm, nn.BatchNorm2d, TokenGroupNorm, TokenBatchNorm)


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
