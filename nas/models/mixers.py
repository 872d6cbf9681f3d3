"""Token mixers: how the positions of a feature map exchange what they know.

Each is made as `mixer_class(stage.mixer, stage.plugin)(stage, side=.., activation=..)` from the stage's own options, the side
of the stage's square map and the class of its activation. All keep the shape `(B, C, H, W)`, attention keeps `(B, N, C)`.
The exporter copies this file into the model it writes, with its neighbour and the rows of the table.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from timm.models.efficientvit_mit import LiteMLA
from torch import Tensor, nn
from torch.fx import wrap

from nas.models.operators import attend, attend_linearly, average, channel_map, filtered
from nas.space.geometry import channels
from nas.space.mixers import MIXERS
from nas.space.plugins.plugin import plugin_class

if TYPE_CHECKING:
    from nas.space.architecture import Stage

for _operator in ("attend", "attend_linearly", "average", "channel_map", "filtered"):
    wrap(_operator)  # one node in torch.fx's graphs: what they ask of their input only a tensor can answer


class Pooling(nn.Module):
    """Average of each neighbourhood minus the input, which the residual adds again. arXiv:2111.11418, equation 4."""

    def __init__(self, stage: "Stage", *, side: int, activation: type[nn.Module]):
        super().__init__()
        assert stage.pool_size is not None, "an option of this mixer"
        self.size = stage.pool_size

    def forward(self, x: Tensor) -> Tensor:
        return average(x, self.size) - x


class RandomMixing(nn.Module):
    """Each position an average of all with frozen random weights, alike in every channel. arXiv:2210.13452, RandomMixing."""

    def __init__(self, stage: "Stage", *, side: int, activation: type[nn.Module]):
        super().__init__()
        noise = torch.rand(side**2, side**2)
        self.random_matrix = nn.Parameter(noise.softmax(dim=-1), requires_grad=False)  # (N, N)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.flatten(2), self.random_matrix).view(x.shape)  # (B, C, N), then (B, C, H, W)


class SpatialFC(nn.Module):
    """A linear map over the flattened positions, shared by all channels: SpatialFC in arXiv:2111.11418, table 5."""

    def __init__(self, stage: "Stage", *, side: int, activation: type[nn.Module]):
        super().__init__()
        self.fc = nn.Linear(side**2, side**2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(2)).view(x.shape)  # (B, C, N), then (B, C, H, W)


class DepthwiseConv(nn.Module):
    """One `kernel_size` filter a channel. arXiv:2111.11418, table 5."""

    def __init__(self, stage: "Stage", *, side: int, activation: type[nn.Module]):
        super().__init__()
        assert stage.kernel_size is not None, "an option of this mixer"
        self.conv = Depthwise(stage.width, kernel_size=stage.kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class InvertedConv(nn.Module):
    """Widen, activate, filter each channel, narrow: an inverted residual without its skip. arXiv:1801.04381, table 1.

    One activation and timm's names, as in the SepConv of MetaFormer Baselines.
    """

    def __init__(self, width: int, hidden: int, *, kernel_size: int, activation: type[nn.Module], bias: bool = False):
        super().__init__()
        self.pwconv1 = Pointwise(width, hidden, bias=bias)
        self.act1 = activation()
        self.dwconv = Depthwise(hidden, kernel_size=kernel_size, bias=bias)
        self.pwconv2 = Pointwise(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.pwconv1(x))  # (B, hidden, H, W)
        return self.pwconv2(self.dwconv(x))  # (B, C, H, W)


class SepConv(InvertedConv):
    """Inverted separable convolution as a token mixer. arXiv:2210.13452, Convolutions."""

    def __init__(self, stage: "Stage", *, side: int, activation: type[nn.Module]):
        assert stage.expansion is not None and stage.kernel_size is not None, "options of this mixer"
        hidden = channels(stage.expansion, stage.width)
        super().__init__(stage.width, hidden, kernel_size=stage.kernel_size, activation=activation)


class Attention(nn.Module):
    """Multi-head self-attention over `(B, N, C)` in heads of `head_dim` channels. arXiv:1706.03762, section 3.2."""

    def __init__(self, stage: "Stage", *, side: int, activation: type[nn.Module]):
        super().__init__()
        assert stage.head_dim is not None and stage.proj_bias is not None, "options of this mixer"
        self.head_dim = stage.head_dim
        self.qkv = nn.Linear(stage.width, 3 * stage.width, bias=False)
        self.proj = nn.Linear(stage.width, stage.width, bias=stage.proj_bias)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, -1, self.head_dim))  # (B, N, 3, heads, head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, head_dim)
        x = attend(q, k, v)
        return self.proj(x.transpose(1, 2).flatten(2))  # (B, N, C)


class LinearAttention(LiteMLA):
    """Attention with ReLU in the softmax's place, so that its cost grows with the number of positions instead of its square.

    Sum over j of (relu(q_i) relu(k_j)) v_j over the sum of these weights and 1e-5, in heads of `head_dim` channels on
    `(B, C, H, W)`: arXiv:2205.14756, equations 1 and 2, as timm computes it, of one scale and without its batch norm.
    """

    def __init__(self, stage: "Stage", *, side: int, activation: type[nn.Module]):
        assert stage.head_dim is not None, "an option of this mixer"
        super().__init__(stage.width, stage.width, dim=stage.head_dim, norm_layer=None, scales=())

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(attend_linearly(self.qkv(x), self.dim, self.eps))  # (B, C, H, W)


class Affine(nn.Module):
    """A learned scale and shift of each channel, minus the input; `reparam` merges it into the norm. arXiv:2304.05659."""

    def __init__(self, stage: "Stage", *, side: int, activation: type[nn.Module]):
        super().__init__()
        self.affine = nn.Conv2d(stage.width, stage.width, kernel_size=1, groups=stage.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.affine(x) - x


class Depthwise(nn.Conv2d):
    """A convolution of each channel for itself that keeps `(B, C, H, W)`."""

    def __init__(self, width: int, *, kernel_size: int, bias: bool = False):
        super().__init__(width, width, kernel_size, padding=kernel_size // 2, groups=width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return filtered(x, self.weight, self.bias)


class Pointwise(nn.Conv2d):
    """A linear map of each position's channels."""

    def __init__(self, width_in: int, width: int, *, bias: bool):
        super().__init__(width_in, width, kernel_size=1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return channel_map(x, self.weight, self.bias)


def mixer_class(name: str, plugin: str | None = None) -> type[nn.Module]:
    """The class of the token mixer of that name: one of this file, of torch's, or of the plugin with that digest."""
    if plugin is not None:
        return plugin_class(name, plugin)
    module = MIXERS[name].module
    return globals().get(module) or getattr(nn, module)
