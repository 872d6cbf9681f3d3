"""An Architecture as a network: `build` makes it, with timm's module names and timm's way of asking a model for things.

The exporter copies this file with its neighbours, so it reads the architecture by attribute only.
"""

from typing import TYPE_CHECKING

import torch
from timm.layers import LayerNorm2d, trunc_normal_
from torch import Tensor, nn

from nas.models.blocks import Downsampling, MetaFormerBlock, MLPHead, Stem
from nas.models.norms import norm
from nas.space.geometry import drop_path_rates, map_sides
from nas.space.mixers import MIXERS

if TYPE_CHECKING:
    from nas.space.architecture import Architecture, Stage


def build(
    architecture: "Architecture", *, image_size: int, num_classes: int, drop_path: float = 0.0, head_dropout: float = 0.0
) -> "MetaFormer":
    """The network of `architecture`, freshly initialised, for square images of `image_size` pixels.

    `drop_path` is the last block's rate, falling linearly to 0 at the first; `head_dropout` stands before the last linear map.
    """
    return MetaFormer(
        architecture, image_size=image_size, num_classes=num_classes, drop_path=drop_path, head_dropout=head_dropout
    )


class MetaFormerStage(nn.Module):
    """Downsampling, position embedding and blocks of one stage; maps in, maps out, attention blocks on `(B, N, C)` between."""

    def __init__(self, stage: "Stage", *, width_in: int | None, side: int, downsample_norm: bool, drop_paths: list[float]):
        super().__init__()
        self.tokens = MIXERS[stage.mixer].needs_tokens
        self.downsample = Downsampling(width_in, stage.width, with_norm=downsample_norm) if width_in else nn.Identity()
        self.position_embedding = None
        if stage.position_embedding:
            self.position_embedding = nn.Parameter(trunc_normal_(torch.empty(1, stage.width, side, side), std=0.02))
        self.blocks = nn.Sequential(*(MetaFormerBlock(stage, side=side, drop_path=rate) for rate in drop_paths))

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)  # (B, C, H, W)
        if self.position_embedding is not None:
            x = x + self.position_embedding
        if not self.tokens:
            return self.blocks(x)
        shape = x.shape
        x = self.blocks(x.flatten(2).transpose(1, 2))  # (B, N, C)
        return x.transpose(1, 2).reshape(shape)  # (B, C, H, W)


class Head(nn.Module):
    """Features `(B, C)`, logits `(B, num_classes)` of the last map; its norm stands before or after the mean over positions."""

    def __init__(self, last: "Stage", *, pool_first: bool, mlp: bool, num_classes: int, dropout: float):
        super().__init__()
        self.pool_first, self.mlp, self.width, self.dropout = pool_first, mlp, last.width, dropout
        self.norm = LayerNorm2d(last.width) if pool_first else norm(last.norm, last.width, bias=last.norm_bias)
        self.drop = nn.Dropout(0.0 if mlp else dropout)
        self.fc = self.classifier(num_classes)

    def classifier(self, num_classes: int) -> nn.Module:
        """A fresh map of features to logits; the identity for no classes."""
        if num_classes == 0:
            return nn.Identity()
        if self.mlp:
            return MLPHead(self.width, num_classes, dropout=self.dropout)
        return nn.Linear(self.width, num_classes)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.norm(_mean(x)) if self.pool_first else _mean(self.norm(x))  # (B, C, 1, 1)
        x = x.flatten(1)  # (B, C)
        return x if pre_logits else self.fc(self.drop(x))  # (B, num_classes)


def _mean(x: Tensor) -> Tensor:
    return x.mean((2, 3), keepdim=True)  # (B, C, 1, 1)


class MetaFormer(nn.Module):
    """Logits `(B, num_classes)` of images `(B, 3, H, W)`. arXiv:2111.11418, figure 2; arXiv:2210.13452, figure 2.

    Any H and W will do unless `fixed_resolution`: then some weights have one entry a position and ValueError tells the size.
    """

    def __init__(
        self, architecture: "Architecture", *, image_size: int, num_classes: int, drop_path: float, head_dropout: float
    ):
        super().__init__()
        stages = architecture.stages
        self.image_size, self.num_classes = image_size, num_classes
        self.num_features = self.head_hidden_size = stages[-1].width
        self.fixed_resolution = any(MIXERS[s.mixer].position_weights or s.position_embedding for s in stages)
        self.feature_info = [
            {"num_chs": s.width, "reduction": architecture.stem_stride * 2**i, "module": f"stages.{i}"}
            for i, s in enumerate(stages)
        ]
        self.stem = Stem(
            stages[0].width,
            kernel=architecture.stem_kernel,
            stride=architecture.stem_stride,
            with_norm=architecture.stem_norm,
        )
        self.stages = nn.Sequential(*_stages(architecture, image_size=image_size, drop_path=drop_path))
        pool_first, mlp = architecture.head_norm == "pool_norm", architecture.head == "mlp"
        head = Head(stages[-1], pool_first=pool_first, mlp=mlp, num_classes=num_classes, dropout=head_dropout)
        self.head: Head | nn.Identity = head
        self.apply(initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's map `(B, C, H, W)`."""
        return self.stages(self.stem(self._checked(x)))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits `(B, num_classes)` of the last map, or the features `(B, C)` before the classifier."""
        return self.head(x, pre_logits=pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The last map and those of the stages in `indices`, all `(B, C, H, W)`: timm's way to ask for features."""
        if output_fmt != "NCHW" or norm:
            raise ValueError(f"features come as NCHW maps without a norm, but got {output_fmt=}, {norm=}")
        taken = taken_indices(indices, len(self.stages))
        x, maps = self.stem(self._checked(x)), []
        for stage in self.stages[: max(taken) + 1] if stop_early else self.stages:
            x = stage(x)
            maps.append(x)
        maps = [maps[i] for i in taken]
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what the maps in `indices` do not need, and returns these indices."""
        taken = taken_indices(indices, len(self.stages))
        last = max(taken)
        self.stages = self.stages[: last + 1]
        self.num_features = self.head_hidden_size = self.feature_info[last]["num_chs"]
        if prune_head or last + 1 < len(self.feature_info):
            self.head, self.num_classes = nn.Identity(), 0
        return taken

    def get_classifier(self) -> nn.Module:
        assert isinstance(self.head, Head), "its head was pruned"
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replaces the classifier by a fresh one on the same device."""
        if global_pool not in (None, "avg"):
            raise ValueError(f"the head takes the mean over positions, global_pool must be 'avg', but got {global_pool!r}")
        assert isinstance(self.head, Head), "its head was pruned"
        self.num_classes = num_classes
        self.head.fc = self.head.classifier(num_classes).apply(initialise).to(self.stem.conv.weight).train(self.training)

    def _checked(self, x: Tensor) -> Tensor:
        size = tuple(x.shape[-2:])
        if self.fixed_resolution and size != (self.image_size, self.image_size):
            raise ValueError(
                f"this network holds weights for each position and fits {self.image_size}x{self.image_size} px only, "
                f"but got {size[0]}x{size[1]} px; resize the images or build it for that size"
            )
        return x


def _stages(architecture: "Architecture", *, image_size: int, drop_path: float) -> list[MetaFormerStage]:
    stages, widths = architecture.stages, [s.width for s in architecture.stages]
    rates = drop_path_rates(drop_path, [s.depth for s in stages])
    return [
        MetaFormerStage(s, width_in=w, side=side, downsample_norm=architecture.downsample_norm, drop_paths=r)
        for s, w, side, r in zip(stages, [None, *widths], map_sides(architecture, image_size), rates, strict=False)
    ]


def taken_indices(indices: int | list[int] | None, count: int) -> list[int]:
    """Which of `count` maps timm's `indices` mean: all for None, the last ones for a number, otherwise these."""
    if indices is None:
        return list(range(count))
    return list(range(count)[-indices:]) if isinstance(indices, int) else [range(count)[i] for i in indices]


def initialise(module: nn.Module) -> None:
    """Truncated normal weights of deviation 0.02 and no bias in convolutions and linear maps, as in timm."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
