"""An Architecture as a network: `build` makes it, with timm's module names and timm's way of asking a model for things.

The exporter copies this file with its neighbours, so it reads the architecture by attribute only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from timm.layers import SelectAdaptivePool2d, trunc_normal_
from timm.models import checkpoint_seq
from torch import Tensor, nn
from torch.jit import is_scripting  # type: ignore[attr-defined]  # public, but not marked as exported

from nas.models.blocks import Downsampling, MetaFormerBlock, MLPHead, Stem, TwoStepStem
from nas.models.norms import LayerNorm2d, norm
from nas.space.geometry import IMAGE_CHANNELS, drop_path_rates, map_sides, needs_map
from nas.space.mixers import row_of

if TYPE_CHECKING:
    from nas.space.architecture import Architecture, Stage

STEMS: dict[int, type[Stem] | type[TwoStepStem]] = {1: Stem, 2: TwoStepStem}
POOLINGS = ("avg", "max", "avgmax", "fastavg", "fastmax", "fastavgmax", "fast", "")


def build(
    architecture: "Architecture", *, image_size: int, num_classes: int, drop_path: float = 0.0, head_dropout: float = 0.0
) -> "MetaFormer":
    """The network of `architecture`, freshly initialised, for square images of `image_size` pixels.

    `drop_path` is the last block's rate, falling linearly to 0 at the first; `head_dropout` stands before the last linear map.
    """
    return MetaFormer(
        architecture, image_size=image_size, num_classes=num_classes, drop_path=drop_path, head_dropout=head_dropout
    )


def network_for_timm(
    architecture: "Architecture",
    *,
    num_classes: int = 1000,
    img_size: int | Sequence[int] = 224,
    in_chans: int = IMAGE_CHANNELS,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    proj_drop_rate: float = 0.0,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> "MetaFormer":
    """The network of `architecture` under timm's argument names; ValueError for what it cannot be.

    `img_size` matters to weights of positions alone; images of other sizes are no error without them.
    """
    side = square_side(img_size)
    if map_sides(architecture, side)[0] < 1:
        raise ValueError(f"img_size must be at least the {architecture.stem_kernel} px of the stem, but got {img_size=}")
    network = MetaFormer(
        architecture,
        image_size=side,
        num_classes=num_classes,
        drop_path=drop_path_rate,
        head_dropout=drop_rate,
        dropout=proj_drop_rate,
        in_chans=in_chans,
        global_pool=global_pool,
    )
    return network.to(device=device, dtype=dtype)


def square_side(img_size: int | Sequence[int]) -> int:
    """The side that timm's `img_size` means; ValueError where it is no square."""
    sides = {img_size} if isinstance(img_size, int) else set(img_size)
    if len(sides) != 1 or min(sides) < 1:
        raise ValueError(f"img_size must be the side of square images, such as 224 or (224, 224), but got {img_size=}")
    return min(sides)


class MetaFormerStage(nn.Module):
    """Downsampling, position embedding and blocks of one stage; maps in, maps out, attention blocks on `(B, N, C)` between."""

    def __init__(
        self,
        stage: "Stage",
        *,
        width_in: int | None,
        side: int,
        downsample_norm: bool,
        drop_paths: list[float],
        dropout: float = 0.0,
    ):
        super().__init__()
        self.grad_checkpointing = False
        self.tokens = row_of(stage).needs_tokens and not needs_map(stage)
        self.downsample = Downsampling(width_in, stage.width, with_norm=downsample_norm) if width_in else nn.Identity()
        self.position_embedding = None
        if stage.position_embedding:
            self.position_embedding = nn.Parameter(trunc_normal_(torch.empty(1, stage.width, side, side), std=0.02))
        self.blocks = nn.Sequential(
            *(MetaFormerBlock(stage, side=side, drop_path=rate, dropout=dropout) for rate in drop_paths)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)  # (B, C, H, W)
        if self.position_embedding is not None:
            x = x + self.position_embedding
        if not self.tokens:
            return self._mixed(x)
        shape = x.shape
        x = self._mixed(x.flatten(2).transpose(1, 2))  # (B, N, C)
        return x.transpose(1, 2).reshape(shape)  # (B, C, H, W)

    def _mixed(self, x: Tensor) -> Tensor:
        if self.grad_checkpointing and not is_scripting():
            return checkpoint_seq(self.blocks, x)
        return self.blocks(x)


class Head(nn.Module):
    """Features `(B, C)`, logits `(B, num_classes)` of the last map; its norm stands before or after the mean over positions.

    `global_pool` is timm's name of what stands for the mean; empty keeps the map, `(B, C, H, W)`.
    """

    def __init__(
        self, last: "Stage", *, pool_first: bool, mlp: bool, num_classes: int, dropout: float, global_pool: str = "avg"
    ):
        super().__init__()
        self.pool_first, self.mlp, self.width, self.dropout = pool_first, mlp, last.width, dropout
        self.pool_by(global_pool)
        self.norm = LayerNorm2d(last.width) if pool_first else norm(last.norm, last.width, bias=last.norm_bias)
        self.drop = nn.Dropout(0.0 if mlp else dropout)
        self.fc = self.classifier(num_classes)

    def pool_by(self, global_pool: str) -> None:
        """Chooses the pooling; ValueError for one that timm's MetaFormer doesn't take either."""
        if global_pool not in POOLINGS:
            raise ValueError(f"global_pool must be one of {', '.join(map(repr, POOLINGS))}, but got {global_pool!r}")
        self.global_pool = SelectAdaptivePool2d(pool_type="fast" if global_pool == "avg" else global_pool)
        self.flatten = nn.Flatten(1) if global_pool else nn.Identity()

    def classifier(self, num_classes: int) -> nn.Module:
        """A fresh map of features to logits; the identity for no classes."""
        if num_classes == 0:
            return nn.Identity()
        if self.mlp:
            return MLPHead(self.width, num_classes, dropout=self.dropout)
        return nn.Linear(self.width, num_classes)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.norm(self.global_pool(x)) if self.pool_first else self.global_pool(self.norm(x))  # (B, C, 1, 1)
        x = self.drop(self.flatten(x))  # (B, C)
        return x if pre_logits else self.fc(x)  # (B, num_classes)


class MetaFormer(nn.Module):
    """Logits `(B, num_classes)` of images `(B, 3, H, W)`. arXiv:2111.11418, figure 2; arXiv:2210.13452, figure 2.

    Any H and W will do unless `fixed_resolution`: then some weights have one entry a position and ValueError tells the size.
    """

    def __init__(
        self,
        architecture: "Architecture",
        *,
        image_size: int,
        num_classes: int,
        drop_path: float,
        head_dropout: float,
        dropout: float = 0.0,
        in_chans: int = IMAGE_CHANNELS,
        global_pool: str = "avg",
    ):
        super().__init__()
        stages = architecture.stages
        self.image_size, self.num_classes, self.in_chans = image_size, num_classes, in_chans
        self.drop_rate, self.grad_checkpointing = head_dropout, False
        self.num_features = self.head_hidden_size = stages[-1].width
        self.fixed_resolution = any(row_of(s).position_weights or s.position_embedding for s in stages)
        self.feature_info = [
            {"num_chs": s.width, "reduction": architecture.stem_stride * 2**i, "module": f"stages.{i}"}
            for i, s in enumerate(stages)
        ]
        only_size = image_size if self.fixed_resolution else 0
        self.stem = STEMS[architecture.stem_steps](architecture, in_chans=in_chans, only_size=only_size)
        self.stages = nn.Sequential(*_stages(architecture, image_size=image_size, drop_path=drop_path, dropout=dropout))
        self.head = _head(architecture, num_classes=num_classes, dropout=head_dropout, global_pool=global_pool)
        self.apply(initialise)

    def forward_features(self, x: Tensor) -> Tensor:
        """The last stage's map `(B, C, H, W)`."""
        return self.stages(self.stem(x))

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
        """The last map and those of the stages in `indices`, in the stages' order, all `(B, C, H, W)`: timm's way to ask.

        `norm` is for networks with one behind their stages, in timm as here it changes nothing.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"features come as NCHW maps, but got {output_fmt=}")
        taken = taken_indices(indices, len(self.stages))
        x, maps = self.stem(x), []
        for stage in self.stages[: max(taken) + 1] if stop_early else self.stages:
            x = stage(x)
            maps.append(x)
        maps = [maps[i] for i in sorted(set(taken))]
        return maps if intermediates_only else (x, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Drops what the maps in `indices` do not need, and returns these indices."""
        taken = taken_indices(indices, len(self.stages))
        last = max(taken)
        shortened = last + 1 < len(self.stages)
        self.stages = self.stages[: last + 1]
        self.num_features = self.head_hidden_size = self.head.width = self.feature_info[last]["num_chs"]
        if prune_head or shortened:
            self.reset_classifier(0, "", reset_other=True)
        return taken

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Whether training computes the blocks' maps anew for their gradients instead of keeping them."""
        self.grad_checkpointing = enable
        for stage in self.stages:
            assert isinstance(stage, MetaFormerStage), "stages hold nothing else"
            stage.grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.head.fc

    @torch.jit.ignore
    def reset_classifier(
        self,
        num_classes: int,
        global_pool: str | None = None,
        reset_other: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Replaces the classifier by a fresh one on the same device; `reset_other` takes the head's norm away as well."""
        like = next(self.stem.parameters())
        self.num_classes = num_classes
        if global_pool is not None:
            self.head.pool_by(global_pool)
        if reset_other:
            self.head.norm = nn.Identity()
        classifier = self.head.classifier(num_classes).apply(initialise)
        self.head.fc = classifier.to(device=device or like.device, dtype=dtype or like.dtype)
        self.head.train(self.training)


def _head(architecture: "Architecture", *, num_classes: int, dropout: float, global_pool: str) -> Head:
    pool_first, mlp = architecture.head_norm == "pool_norm", architecture.head == "mlp"
    last = architecture.stages[-1]
    return Head(last, pool_first=pool_first, mlp=mlp, num_classes=num_classes, dropout=dropout, global_pool=global_pool)


def _stages(architecture: "Architecture", *, image_size: int, drop_path: float, dropout: float) -> list[MetaFormerStage]:
    stages, widths = architecture.stages, [s.width for s in architecture.stages]
    rates = drop_path_rates(drop_path, [s.depth for s in stages])
    with_norm = architecture.downsample_norm
    return [
        MetaFormerStage(s, width_in=w, side=side, downsample_norm=with_norm, drop_paths=r, dropout=dropout)
        for s, w, side, r in zip(stages, [None, *widths], map_sides(architecture, image_size), rates, strict=False)
    ]


def taken_indices(indices: int | list[int] | None, count: int) -> list[int]:
    """Which of `count` maps timm's `indices` mean: all for None, the last ones for a number, otherwise these."""
    if indices is None:
        return list(range(count))
    chosen = list(range(-indices, 0)) if isinstance(indices, int) else list(indices)
    if not chosen or not all(-count <= i < count for i in chosen):
        raise ValueError(f"the maps to take must be some of the {count} stages', numbered from 0, but got {indices!r}")
    return [i % count for i in chosen]


def initialise(module: nn.Module) -> None:
    """Truncated normal weights of deviation 0.02 and no bias in convolutions and linear maps, as in timm."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
