"""What a MetaFormer is made of besides its token mixers and norms: activations, scales, MLPs, stem, downsampling, the block.

Module and parameter names are timm's, so that its weights load without a map. `tokens` tells the two layouts apart:
`(B, N, C)` in stages whose mixer needs it, `(B, C, H, W)` elsewhere. The exporter copies this file with its neighbours.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from timm.layers import DropPath, SqueezeExcite
from torch import Tensor, nn
from torch.fx import wrap

from nas.models.mixers import InvertedConv, Pointwise, mixer_class
from nas.models.norms import norm
from nas.models.operators import alike, gelu
from nas.space.activations import ACTIVATIONS
from nas.space.geometry import (
    HEAD_RATIO,
    IMAGE_CHANNELS,
    MLP_KERNEL,
    channels,
    needs_map,
    stem_convolutions,
    stem_padding,
    stem_widths,
)
from nas.space.mixers import row_of

if TYPE_CHECKING:
    from nas.space.architecture import Architecture, Stage

for _operator in ("alike", "gelu", "of_that_size"):
    wrap(_operator)  # one node in torch.fx's graphs: what they ask of their input only a tensor can answer


class StarReLU(nn.Module):
    """`s * relu(x)^2 + b` with learned s and b, which start at 1 and 0. arXiv:2210.13452, StarReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x).square()
        return alike(self.scale, x) * x + alike(self.bias, x)


class SquaredReLU(nn.Module):
    """`relu(x)^2`. arXiv:2109.08668."""

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()


class GELU(nn.GELU):
    """GELU without an approximation."""

    def forward(self, x: Tensor) -> Tensor:
        return gelu(x)


def activation_class(name: str) -> type[nn.Module]:
    """The class of the activation of that name: one of this file, or of torch's."""
    module = ACTIVATIONS[name].module
    return globals().get(module) or getattr(nn, module)


class Scale(nn.Module):
    """A learned factor a channel: LayerScale on a branch (arXiv:2103.17239), ResScale on a skip (arXiv:2110.09456)."""

    def __init__(self, width: int, *, value: float, tokens: bool):
        super().__init__()
        self.shape = (width,) if tokens else (width, 1, 1)
        self.scale = nn.Parameter(torch.full((width,), value))

    def forward(self, x: Tensor) -> Tensor:
        return x * alike(self.scale, x).view(self.shape)


class ChannelMLP(nn.Module):
    """Two linear maps of each position's channels with an activation between; 1x1 convolutions on maps."""

    def __init__(self, width: int, hidden: int, *, activation: type[nn.Module], bias: bool, tokens: bool, dropout: float = 0.0):
        super().__init__()
        self.fc1 = pointwise(width, hidden, bias=bias, tokens=tokens)
        self.act = activation()
        self.fc2 = pointwise(hidden, width, bias=bias, tokens=tokens)
        self.drop = nn.Dropout(dropout) if dropout else None  # a call less where there is nothing to do

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.fc1(x))
        if self.drop is not None:
            x = self.drop(x)
        return self.fc2(x)


def pointwise(width_in: int, width: int, *, bias: bool, tokens: bool) -> nn.Module:
    """A linear map of each position's channels in either layout."""
    if tokens:
        return nn.Linear(width_in, width, bias=bias)
    return Pointwise(width_in, width, bias=bias)


class Stem(nn.Module):
    """The image `(B, 3, S, S)` as the first feature map `(B, C, H, W)`. arXiv:2111.11418, table 1.

    `only_size` is the one side in pixels that the network behind it takes, or 0 for any.
    """

    def __init__(self, architecture: "Architecture", *, in_chans: int = IMAGE_CHANNELS, only_size: int = 0):
        super().__init__()
        self.only_size = only_size
        [self.conv], [self.norm] = _stem_layers(architecture, in_chans)

    def forward(self, x: Tensor) -> Tensor:
        if self.only_size:
            x = of_that_size(x, self.only_size)
        return self.norm(self.conv(x))  # (B, C, H, W)


class TwoStepStem(nn.Module):
    """The same by two 3x3 convolutions with a norm and a GELU between. arXiv:2106.14881; names as in timm's Stem4."""

    def __init__(self, architecture: "Architecture", *, in_chans: int = IMAGE_CHANNELS, only_size: int = 0):
        super().__init__()
        self.only_size = only_size
        (self.conv1, self.conv2), (self.norm1, self.norm2) = _stem_layers(architecture, in_chans)
        self.act1 = GELU()

    def forward(self, x: Tensor) -> Tensor:
        if self.only_size:
            x = of_that_size(x, self.only_size)
        x = self.act1(self.norm1(self.conv1(x)))  # (B, C // 2, H1, W1)
        return self.norm2(self.conv2(x))  # (B, C, H, W)


def _stem_layers(architecture: "Architecture", in_chans: int) -> tuple[list[nn.Conv2d], list[nn.Module]]:
    """The convolutions of a stem, and the norm behind each."""
    widths, kind = stem_widths(architecture), "layer" if architecture.stem_norm else "none"
    shapes = zip([in_chans, *widths], widths, stem_convolutions(architecture), strict=False)
    convolutions = [nn.Conv2d(c_in, c, k, stride=s, padding=stem_padding(k, s)) for c_in, c, (k, s) in shapes]
    return convolutions, [norm(kind, width, bias=False) for width in widths]


def of_that_size(x: Tensor, side: int) -> Tensor:
    """The images as they are; ValueError where they are not squares of that side."""
    if x.shape[-2] != side or x.shape[-1] != side:
        raise ValueError(
            f"this network holds weights for each position and fits {side}x{side} px only, "
            f"but got {x.shape[-2]}x{x.shape[-1]} px; resize the images or build it for that size"
        )
    return x


class Downsampling(nn.Module):
    """A map of half the side, rounded up, by a 3x3 convolution. arXiv:2111.11418, table 1."""

    def __init__(self, width_in: int, width: int, *, with_norm: bool):
        super().__init__()
        self.norm = norm("layer" if with_norm else "none", width_in, bias=False)
        self.conv = nn.Conv2d(width_in, width, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))  # (B, C, (H + 1) // 2, (W + 1) // 2)


class MetaFormerBlock(nn.Module):
    """Token mixing, then channel mixing, each normed first and added to its input. arXiv:2111.11418, equations 2 and 3."""

    def __init__(self, stage: "Stage", *, side: int, drop_path: float, dropout: float = 0.0):
        super().__init__()
        activation, needs_tokens = activation_class(stage.activation), row_of(stage).needs_tokens
        tokens = needs_tokens and not needs_map(stage)
        hidden = channels(stage.mlp_ratio, stage.width)
        self.residual, self.has_mlp, self.flattens = stage.residual, hidden > 0, needs_tokens and not tokens
        after_mixer = dropout if needs_tokens else 0.0  # behind attention alone, as in timm
        self.norm1, self.drop_path1, self.layer_scale1, self.res_scale1 = _around(
            stage, tokens=tokens, drop_path=drop_path, dropout=after_mixer
        )
        if self.has_mlp:
            self.norm2, self.drop_path2, self.layer_scale2, self.res_scale2 = _around(
                stage, tokens=tokens, drop_path=drop_path, dropout=dropout
            )
        self.token_mixer = mixer_class(stage.mixer, stage.plugin)(stage, side=side, activation=activation)
        self.se = squeeze_excite(stage)
        if self.has_mlp:
            self.mlp = _channel_mlp(stage, hidden, activation=activation, tokens=tokens, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.layer_scale1(self.drop_path1(self.se(self._mixed(self.norm1(x)))))
        x = self.res_scale1(x) + mixed if self.residual else mixed
        if not self.has_mlp:
            return x
        mixed = self.layer_scale2(self.drop_path2(self.mlp(self.norm2(x))))
        return self.res_scale2(x) + mixed if self.residual else mixed

    def _mixed(self, x: Tensor) -> Tensor:
        """Between maps, a mixer that takes tokens is given them."""
        if not self.flattens:
            return self.token_mixer(x)
        shape = x.shape
        x = self.token_mixer(x.flatten(2).transpose(1, 2))  # (B, N, C)
        return x.transpose(1, 2).reshape(shape)  # (B, C, H, W)


def squeeze_excite(stage: "Stage") -> nn.Module:
    """timm's squeeze-and-excitation with the stage's channels; the identity for none. arXiv:1709.01507."""
    squeezed = channels(stage.se_ratio, stage.width)
    return SqueezeExcite(stage.width, rd_channels=squeezed) if squeezed else nn.Identity()


def _channel_mlp(
    stage: "Stage", hidden: int, *, activation: type[nn.Module], tokens: bool, dropout: float
) -> ChannelMLP | InvertedConv:
    if stage.mlp == "conv":
        return InvertedConv(stage.width, hidden, kernel_size=MLP_KERNEL, activation=activation, bias=stage.mlp_bias)
    return ChannelMLP(stage.width, hidden, activation=activation, bias=stage.mlp_bias, tokens=tokens, dropout=dropout)


def _around(
    stage: "Stage", *, tokens: bool, drop_path: float, dropout: float
) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    """What stands around one of a block's two mixings: norm, dropout and drop path, LayerScale, ResScale."""
    return (
        norm(stage.norm, stage.width, bias=stage.norm_bias, tokens=tokens),
        _drops(dropout, drop_path),
        _scale(stage.layer_scale, stage.width, tokens=tokens),
        _scale(1.0 if stage.res_scale else None, stage.width, tokens=tokens),
    )


def _drops(dropout: float, drop_path: float) -> nn.Module:
    path = DropPath(drop_path) if drop_path else nn.Identity()
    return nn.Sequential(nn.Dropout(dropout), path) if dropout else path


def _scale(value: float | None, width: int, *, tokens: bool) -> nn.Module:
    return nn.Identity() if value is None else Scale(width, value=value, tokens=tokens)


class MLPHead(nn.Module):
    """Logits `(B, num_classes)` of features `(B, C)` by way of 4x as many channels. arXiv:2210.13452, section 3."""

    def __init__(self, width: int, num_classes: int, *, dropout: float):
        super().__init__()
        self.fc1 = nn.Linear(width, HEAD_RATIO * width)
        self.act = SquaredReLU()
        self.norm = nn.LayerNorm(HEAD_RATIO * width, eps=1e-6)
        self.drop = nn.Dropout(dropout)
        self.fc2 = nn.Linear(HEAD_RATIO * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.drop(self.norm(self.act(self.fc1(x)))))  # (B, num_classes)
