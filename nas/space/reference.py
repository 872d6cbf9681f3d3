"""The papers' designs by name, each a few lines of data; every one is an Architecture like any that a search finds."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal, NamedTuple

from nas.errors import ConfigError, unknown
from nas.space.architecture import Architecture, Stage

IMAGENET_CLASSES, IMAGENET_PIXELS = 1000, 224  # at which the papers print params and MACs
SMALL = (64, 128, 320, 512)
MEDIUM = (96, 192, 384, 768)

Sizes = Mapping[str, tuple[Sequence[int], Sequence[int]]]
# size: depths, widths. arXiv:2111.11418, table 1.
POOLFORMER_SIZES: Sizes = {
    "s12": ((2, 2, 6, 2), SMALL),
    "s24": ((4, 4, 12, 4), SMALL),
    "s36": ((6, 6, 18, 6), SMALL),
    "m36": ((6, 6, 18, 6), MEDIUM),
    "m48": ((8, 8, 24, 8), MEDIUM),
}
FINE_LAYER_SCALE_FROM = 36  # blocks, from which on PoolFormer's LayerScale begins at 1e-6 (arXiv:2111.11418, section 4.1)
# size: depths, widths. arXiv:2210.13452, table 2.
CONVFORMER_SIZES: Sizes = {
    "s18": ((3, 3, 9, 3), SMALL),
    "s36": ((3, 12, 18, 3), SMALL),
    "m36": ((3, 12, 18, 3), (96, 192, 384, 576)),
    "b36": ((3, 12, 18, 3), (128, 256, 512, 768)),
}


def poolformer(
    depths: Sequence[int] = (2, 2, 6, 2),
    widths: Sequence[int] = SMALL,
    *,
    mixers: tuple[str, ...] = ("pool",) * 4,
    **changes: Any,
) -> Architecture:
    """PoolFormer, arXiv:2111.11418; `changes` are stage fields that an ablation or RIFormer sets otherwise in all stages."""
    layer_scale = 1e-6 if sum(depths) >= FINE_LAYER_SCALE_FROM else 1e-5
    block = {"norm": "group", "norm_bias": True, "mlp_bias": True, "activation": "gelu", "layer_scale": layer_scale, **changes}
    stages = tuple(Stage(mixer=m, depth=d, width=w, **block) for m, d, w in zip(mixers, depths, widths, strict=True))
    return Architecture(stages=stages, stem_norm=False, downsample_norm=False, head_norm="norm_pool")


def baseline(
    depths: Sequence[int], widths: Sequence[int], *, mixers: tuple[str, ...], norm: str, head: Literal["linear", "mlp"]
) -> Architecture:
    """A model of MetaFormer Baselines, arXiv:2210.13452: no biases, StarReLU, ResScale in stages 3 and 4."""
    stages = tuple(
        Stage(mixer=mixer, depth=depth, width=width, norm=norm, res_scale=i >= 2)
        for i, (mixer, depth, width) in enumerate(zip(mixers, depths, widths, strict=True))
    )
    return Architecture(stages=stages, head=head)


def pool_attention(num_attention: int) -> Architecture:
    """The hybrids [P, P, P, A], [P, P, A, A]: layer norm, positions added before attention. arXiv:2111.11418, table 5."""
    plain = poolformer(mixers=("pool",) * (4 - num_attention) + ("attention",) * num_attention, norm="layer")
    changes = {4 - num_attention: {"position_embedding": True}}
    stages = [
        stage.model_copy(update={"proj_bias": True if stage.mixer == "attention" else None, **changes.get(i, {})})
        for i, stage in enumerate(plain.stages)
    ]
    return plain.model_copy(update={"stages": tuple(stages)})


class Family(NamedTuple):
    """Designs that differ in depths and widths only."""

    sizes: Sizes
    """Those that were published, smallest first."""
    make: Callable[[Sequence[int], Sequence[int]], Architecture]
    """The member of given depths and widths."""


_simple = partial(baseline, norm="group", head="linear")
_strong = partial(baseline, norm="layer", head="mlp")
FAMILIES = {
    "poolformer": Family(POOLFORMER_SIZES, poolformer),
    # RIFormer, arXiv:2304.05659, as it is deployed: in training its mixer is affine, which is folded into the norm
    "riformer": Family(POOLFORMER_SIZES, partial(poolformer, mixers=("identity",) * 4)),
    "poolformerv2": Family(POOLFORMER_SIZES, partial(_simple, mixers=("pool",) * 4)),
    "identityformer": Family(POOLFORMER_SIZES, partial(_simple, mixers=("identity",) * 4)),
    "randformer": Family(POOLFORMER_SIZES, partial(_simple, mixers=("identity", "identity", "random", "random"))),
    "convformer": Family(CONVFORMER_SIZES, partial(_strong, mixers=("conv",) * 4)),
    "caformer": Family(CONVFORMER_SIZES, partial(_strong, mixers=("conv", "conv", "attention", "attention"))),
}


def _published() -> dict[str, Architecture]:
    architectures = {
        f"{name}_{size}": family.make(*shape) for name, family in FAMILIES.items() for size, shape in family.sizes.items()
    }
    for size, shape in POOLFORMER_SIZES.items():
        # timm takes the mean first and then the norm: equal features, other logits; its weights need its order
        architectures[f"poolformer_{size}_timm"] = poolformer(*shape).model_copy(update={"head_norm": "pool_norm"})
        architectures[f"riformer_{size}_train"] = poolformer(*shape, mixers=("affine",) * 4)
    return architectures


def _ablations() -> dict[str, Architecture]:
    """The 18 rows of arXiv:2111.11418, table 5, all on PoolFormer-S12."""
    rows = {
        "baseline": poolformer(),
        "identity": poolformer(mixers=("identity",) * 4),
        "random": poolformer(mixers=("random",) * 4),
        "dwconv": poolformer(mixers=("dwconv",) * 4),
        **{f"pool_size_{k}": poolformer(pool_size=k) for k in (5, 7, 9)},
        **{f"norm_{norm}": poolformer(norm=norm) for norm in ("layer", "batch", "none")},
        **{f"activation_{act}": poolformer(activation=act) for act in ("relu", "silu")},
        "no_residual": poolformer(residual=False),
        "no_mlp": poolformer(mlp_ratio=0),
        "pppa": pool_attention(1),
        "ppaa": pool_attention(2),
        "pppf": poolformer(mixers=("pool", "pool", "pool", "spatial_fc")),
        "ppff": poolformer(mixers=("pool", "pool", "spatial_fc", "spatial_fc")),
    }
    return {f"ablation_{row}": architecture for row, architecture in rows.items()}


@cache
def designs() -> dict[str, Architecture]:
    """Every reference design by its name."""
    return {**_published(), **_ablations()}


def design(name: str) -> Architecture:
    """The reference design of that name; ConfigError with the nearest names if there is none."""
    if name not in designs():
        raise ConfigError(unknown("design", name, designs()))
    return designs()[name]


def timm_names() -> list[str]:
    """The names of timm's eighteen MetaFormers (timm/models/metaformer.py)."""
    poolformers = [f"{family}_{size}" for family in ("poolformer", "poolformerv2") for size in POOLFORMER_SIZES]
    return poolformers + [f"{family}_{size}" for family in ("convformer", "caformer") for size in CONVFORMER_SIZES]


def from_timm(name: str) -> Architecture:
    """The architecture whose network takes the weights of timm's MetaFormer `name`, with or without a tag of weights."""
    plain = name.split(".")[0]
    if plain not in timm_names():
        raise ConfigError(unknown("MetaFormer of timm", plain, timm_names()))
    return designs().get(f"{plain}_timm") or designs()[plain]
