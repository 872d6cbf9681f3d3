"""An Architecture in timm's own MetaFormer classes: the same key names, the same network, no mixer of ours.

timm's entrypoints can't say what a search chooses for each stage by itself (MLP ratio, activation, norm), its classes can.
The exporter copies this file, so it reads the architecture by attribute only and imports torch and timm alone.
"""

from functools import partial
from typing import TYPE_CHECKING

import torch.nn.functional as F
from timm.layers import GroupNorm1, LayerNorm2d, Mlp
from timm.models.metaformer import (
    Attention,
    Downsampling,
    LayerNorm2dNoBias,
    MetaFormer,
    MetaFormerBlock,
    MetaFormerStage,
    Pooling,
    SepConv,
    SquaredReLU,
    StarReLU,
    Stem,
)
from torch import Tensor, nn

if TYPE_CHECKING:
    from nas.space.architecture import Architecture, Stage

MIXERS = {"pool": Pooling, "identity": nn.Identity, "conv": SepConv, "attention": Attention}
ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "star_relu": StarReLU, "squared_relu": SquaredReLU}


class TokenGroupNorm(GroupNorm1):
    """timm's GroupNorm1 of `(B, N, C)`, which it keeps for maps."""

    def forward(self, x: Tensor) -> Tensor:
        x = F.layer_norm(x, x.shape[1:], eps=self.eps) * self.weight
        return x if self.bias is None else x + self.bias


class TokenBatchNorm(nn.BatchNorm1d):
    """Batch norm of `(B, N, C)`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)  # (B, C, N) and back


NORMS = {"group": GroupNorm1, "layer": LayerNorm2d, "batch": nn.BatchNorm2d}
TOKEN_NORMS = {"group": TokenGroupNorm, "layer": nn.LayerNorm, "batch": TokenBatchNorm}


def norm(width: int, *, kind: str, bias: bool, tokens: bool = False) -> nn.Module:
    """The norm of that kind; eps 1e-5 with a bias and 1e-6 without, as the papers' code has it."""
    if kind == "none":
        return nn.Identity()
    layer = (TOKEN_NORMS if tokens else NORMS)[kind](width, eps=1e-5 if bias else 1e-6)
    if not bias:
        layer.bias = None
    return layer


class Block(MetaFormerBlock):
    """timm's block with a channel MLP of any width or none, with or without skips."""

    def __init__(self, stage: "Stage", *, drop_path: float):
        activation, tokens = ACTIVATIONS[stage.activation], stage.mixer == "attention"
        super().__init__(
            stage.width,
            token_mixer=partial(MIXERS[stage.mixer], **mixer_options(stage)),
            mlp_act=activation,
            mlp_bias=stage.mlp_bias,
            norm_layer=nn.Identity,
            drop_path=drop_path,
            use_nchw=not tokens,
            layer_scale_init_value=stage.layer_scale,
            res_scale_init_value=1.0 if stage.res_scale else None,
        )
        self.residual, hidden = stage.residual, int(stage.mlp_ratio * stage.width)
        self.norm1, self.norm2 = (norm(stage.width, kind=stage.norm, bias=stage.norm_bias, tokens=tokens) for _ in range(2))
        self.mlp = Mlp(stage.width, hidden, act_layer=activation, bias=stage.mlp_bias, use_conv=not tokens)
        if not hidden:
            self.norm2 = self.mlp = self.layer_scale2 = self.res_scale2 = None

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.layer_scale1(self.drop_path1(self.token_mixer(self.norm1(x))))
        x = self.res_scale1(x) + mixed if self.residual else mixed
        if self.mlp is None:
            return x
        mixed = self.layer_scale2(self.drop_path2(self.mlp(self.norm2(x))))
        return self.res_scale2(x) + mixed if self.residual else mixed


def mixer_options(stage: "Stage") -> dict:
    """A stage's mixer options under timm's names."""
    if stage.mixer == "pool":
        return {"pool_size": stage.pool_size}
    if stage.mixer == "attention":
        return {"head_dim": stage.head_dim, "proj_bias": stage.proj_bias}
    if stage.mixer == "conv":
        size = {"kernel_size": stage.kernel_size, "padding": stage.kernel_size // 2}
        return {"expansion_ratio": stage.expansion, "act1_layer": ACTIVATIONS[stage.activation], **size}
    return {}


class StagewiseMetaFormer(MetaFormer):
    """timm's MetaFormer in which every stage has its own block, and the head's norm may stand before the mean."""

    def __init__(
        self,
        architecture: "Architecture",
        *,
        num_classes: int,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
    ):
        stages = architecture.stages
        super().__init__(
            in_chans=in_chans,
            num_classes=num_classes,
            global_pool=global_pool,
            depths=[0] * len(stages),  # its stages give way to those below
            dims=[stage.width for stage in stages],
            token_mixers=nn.Identity,
            drop_rate=drop_rate,
            use_mlp_head=architecture.head == "mlp",
        )
        self.stem = _stem(architecture, in_chans=in_chans)
        self.stages = nn.Sequential(*_stages(architecture, drop_path=drop_path_rate))
        for i, info in enumerate(self.feature_info):
            info["reduction"] = architecture.stem_stride * 2**i
        self.norm_first = architecture.head_norm == "norm_pool"
        if self.norm_first:
            self.head.norm = norm(stages[-1].width, kind=stages[-1].norm, bias=stages[-1].norm_bias)
        self.apply(self._init_weights)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if not self.norm_first:
            return super().forward_head(x, pre_logits=pre_logits)
        x = self.head.global_pool(self.head.norm(x))  # (B, C, 1, 1)
        x = self.head.drop(self.head.flatten(x))  # (B, C)
        return x if pre_logits else self.head.fc(x)


def _stem(architecture: "Architecture", *, in_chans: int) -> Stem:
    width, kernel, stride = architecture.stages[0].width, architecture.stem_kernel, architecture.stem_stride
    stem = Stem(in_chans, width, norm_layer=LayerNorm2dNoBias if architecture.stem_norm else None)
    stem.conv = nn.Conv2d(in_chans, width, kernel, stride=stride, padding=(kernel - stride + 1) // 2)
    return stem


def _stages(architecture: "Architecture", *, drop_path: float) -> list[MetaFormerStage]:
    """Drop path rises linearly from 0 in the first block to `drop_path` in the last."""
    stages, rate = [], drop_path / max(1, sum(stage.depth for stage in architecture.stages) - 1)
    width_in, before = None, 0
    for stage in architecture.stages:
        made = MetaFormerStage(stage.width, stage.width, depth=0, token_mixer=MIXERS[stage.mixer])
        if width_in is not None:  # timm leaves the downsampling out between equal widths
            norm_layer = LayerNorm2dNoBias if architecture.downsample_norm else None
            made.downsample = Downsampling(width_in, stage.width, 3, stride=2, padding=1, norm_layer=norm_layer)
        made.blocks = nn.Sequential(*(Block(stage, drop_path=rate * (before + j)) for j in range(stage.depth)))
        stages.append(made)
        width_in, before = stage.width, before + stage.depth
    return stages
