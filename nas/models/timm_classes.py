"""An Architecture in timm's own MetaFormer classes: the same key names, the same network, no mixer of ours.

timm's entrypoints can't say what a search chooses for each stage by itself (MLP ratio, activation, norm), its classes can.
The exporter copies this file with its neighbours, so it reads the architecture by attribute only.
"""

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from timm.layers import DropPath, Mlp, SqueezeExcite
from timm.models import metaformer as timm_metaformer
from timm.models.efficientvit_mit import LiteMLA
from timm.models.metaformer import (
    Downsampling,
    LayerNorm2dNoBias,
    MetaFormer,
    MetaFormerBlock,
    MetaFormerStage,
    SepConv,
    Stem,
)
from torch import Tensor, nn

from nas.models.norms import norm
from nas.space.activations import ACTIVATIONS
from nas.space.geometry import MLP_KERNEL, channels, drop_path_rates, needs_map, stem_convolutions, stem_padding, stem_widths
from nas.space.mixers import row_of

if TYPE_CHECKING:
    from nas.space.architecture import Architecture, Stage


class SingleScaleMLA(LiteMLA):
    """EfficientViT's linear attention as a token mixer: of one scale, without its batch norm."""

    def __init__(self, dim: int, *, head_dim: int, **others: Any):
        super().__init__(dim, dim, dim=head_dim, norm_layer=None, scales=())


TIMM_MIXERS = {"LinearAttention": SingleScaleMLA}  # what timm has in other files than that of its MetaFormers


def timm_class(module: str) -> type[nn.Module]:
    """timm's class of that name, or torch's."""
    return TIMM_MIXERS.get(module) or getattr(timm_metaformer, module, None) or getattr(nn, module)


class Block(MetaFormerBlock):
    """timm's block with a channel MLP of any width and kind or none, with or without skips and squeeze-and-excitation."""

    def __init__(self, stage: "Stage", *, drop_path: float, proj_drop: float = 0.0):
        mixer, activation = row_of(stage), timm_class(ACTIVATIONS[stage.activation].module)
        tokens = mixer.needs_tokens and not needs_map(stage)
        super().__init__(
            stage.width,
            token_mixer=partial(timm_class(mixer.module), **mixer_options(stage)),
            mlp_act=activation,
            mlp_bias=stage.mlp_bias,
            norm_layer=nn.Identity,
            proj_drop=proj_drop,
            drop_path=drop_path,
            use_nchw=not tokens,
            layer_scale_init_value=stage.layer_scale,
            res_scale_init_value=1.0 if stage.res_scale else None,
        )
        hidden = channels(stage.mlp_ratio, stage.width)
        self.residual, self.has_mlp, self.flattens = stage.residual, hidden > 0, mixer.needs_tokens and not tokens
        self.norm1 = norm(stage.norm, stage.width, bias=stage.norm_bias, tokens=tokens)
        self.norm2 = norm(stage.norm, stage.width, bias=stage.norm_bias, tokens=tokens)
        squeezed = channels(stage.se_ratio, stage.width)
        self.se = SqueezeExcite(stage.width, rd_channels=squeezed) if squeezed else nn.Identity()
        if stage.mlp == "conv":
            self.mlp = inverted_residual(stage, activation=activation)
            self.drop_path2 = nn.Sequential(nn.Dropout(proj_drop), DropPath(drop_path))
        else:
            mlp = partial(Mlp, act_layer=activation, bias=stage.mlp_bias, drop=proj_drop, use_conv=not tokens)
            self.mlp = mlp(stage.width, hidden)
        if not self.has_mlp:  # what stands there must have no weights
            self.norm2 = self.mlp = self.layer_scale2 = self.res_scale2 = nn.Identity()

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


def inverted_residual(stage: "Stage", *, activation: type[nn.Module]) -> SepConv:
    """timm's inverted separable convolution as a stage's channel MLP."""
    return SepConv(
        stage.width,
        expansion_ratio=stage.mlp_ratio,
        act1_layer=activation,
        bias=stage.mlp_bias,
        kernel_size=MLP_KERNEL,
        padding=MLP_KERNEL // 2,
    )


def mixer_options(stage: "Stage") -> dict[str, object]:
    """A stage's mixer options, and its activation where the mixer has one, under timm's names."""
    names = row_of(stage).timm_options
    assert names is not None, "this file is for timm's own mixers"
    options = {theirs: getattr(stage, ours) for ours, theirs in names.items()}
    for name in [theirs for theirs, value in options.items() if value in ACTIVATIONS]:
        options[name] = timm_class(ACTIVATIONS[options[name]].module)
    if "kernel_size" in options:
        options["padding"] = options["kernel_size"] // 2
    return options


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
        proj_drop_rate: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
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
        self.stages = nn.Sequential(*_stages(architecture, drop_path=drop_path_rate, proj_drop=proj_drop_rate))
        for i, info in enumerate(self.feature_info):
            info["reduction"] = architecture.stem_stride * 2**i
        self.norm_first = architecture.head_norm == "norm_pool"
        if self.norm_first:
            self.head.norm = norm(stages[-1].norm, stages[-1].width, bias=stages[-1].norm_bias)
        self.apply(self._init_weights)
        self.to(device=device, dtype=dtype)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = x if self.norm_first else self.head.global_pool(x)
        x = self.head.norm(x)
        x = self.head.global_pool(x) if self.norm_first else x  # (B, C, 1, 1)
        x = self.head.drop(self.head.flatten(x))  # (B, C)
        return x if pre_logits else self.head.fc(x)


def _stem(architecture: "Architecture", *, in_chans: int) -> nn.Module:
    widths, norm_layer = stem_widths(architecture), LayerNorm2dNoBias if architecture.stem_norm else None
    shapes = zip([in_chans, *widths], widths, stem_convolutions(architecture), strict=False)
    convolutions = [nn.Conv2d(c_in, c, k, stride=s, padding=stem_padding(k, s)) for c_in, c, (k, s) in shapes]
    if architecture.stem_steps == 1:
        stem = Stem(in_chans, widths[0], norm_layer=norm_layer)
        stem.conv = convolutions[0]
        return stem
    norms = [norm_layer(width) if norm_layer else nn.Identity() for width in widths]
    layers = [convolutions[0], norms[0], nn.GELU(), convolutions[1], norms[1]]
    names = ("conv1", "norm1", "act1", "conv2", "norm2")  # timm's of EfficientFormer's stem
    return nn.Sequential(OrderedDict(zip(names, layers, strict=True)))


def _stages(architecture: "Architecture", *, drop_path: float, proj_drop: float) -> list[MetaFormerStage]:
    stages, rates = [], drop_path_rates(drop_path, [stage.depth for stage in architecture.stages])
    for i, (stage, own_rates) in enumerate(zip(architecture.stages, rates, strict=True)):
        token_mixer = timm_class(row_of(stage).module)
        made = MetaFormerStage(stage.width, stage.width, depth=0, token_mixer=token_mixer)
        if i > 0:  # timm leaves the downsampling out between equal widths
            norm_layer = LayerNorm2dNoBias if architecture.downsample_norm else None
            width_in = architecture.stages[i - 1].width
            made.downsample = Downsampling(width_in, stage.width, 3, stride=2, padding=1, norm_layer=norm_layer)
        made.use_nchw = needs_map(stage) or not row_of(stage).needs_tokens
        made.blocks = nn.Sequential(*(Block(stage, drop_path=rate, proj_drop=proj_drop) for rate in own_rates))
        stages.append(made)
    return stages
