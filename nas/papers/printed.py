"""The papers' tables as they are printed: params, MACs and top-1 of every row, as text, so that the printed digits are known.

Rows of MetaFormers name the design here that stands for them and must come out to the last digit. Rows of other families name
the public timm model of that paper, if there is one; they were copied from other papers and come out nearly.
"""

from typing import Any, Literal, NamedTuple


class Row(NamedTuple):
    """One printed line: millions of params, G MACs, ImageNet top-1 in per cent."""

    name: str
    model: str | None
    """A design of ours or, with `family` other, timm's name; None where there is no public model."""
    params: str
    macs: str
    accuracy: str | None
    family: Literal["metaformer", "other"] = "metaformer"
    image_size: int = 224
    frozen_params: str | None = None
    note: str = ""


class PrintedTable(NamedTuple):
    """A table, where it stands, and what it counts: found out by the rows that the other count would print otherwise."""

    title: str
    source: str
    params: Literal["all", "without LayerScale"]
    macs: Literal["core", "fvcore"]
    rows: tuple[Row, ...]


def _other(name: str, model: str | None, params: str, macs: str, accuracy: str, **more: Any) -> Row:
    return Row(name, model, params, macs, accuracy, family="other", **more)


POOLFORMER = "arXiv:2111.11418"
BASELINES = "arXiv:2210.13452"
RIFORMER = "arXiv:2304.05659"

CONFIGURATIONS = (
    Row("PoolFormer-S12", "poolformer_s12", "11.9", "1.8", None),
    Row("PoolFormer-S24", "poolformer_s24", "21.4", "3.4", None),
    Row("PoolFormer-S36", "poolformer_s36", "30.8", "5.0", None),
    Row("PoolFormer-M36", "poolformer_m36", "56.1", "8.8", None),
    Row("PoolFormer-M48", "poolformer_m48", "73.4", "11.6", None),
)
POOLFORMERS = (
    Row("PoolFormer-S12", "poolformer_s12", "12", "1.8", "77.2"),
    Row("PoolFormer-S24", "poolformer_s24", "21", "3.4", "80.3"),
    Row("PoolFormer-S36", "poolformer_s36", "31", "5.0", "81.4"),
    Row("PoolFormer-M36", "poolformer_m36", "56", "8.8", "82.1"),
    Row("PoolFormer-M48", "poolformer_m48", "73", "11.6", "82.5"),
)
IMAGENET = (
    _other("RSB-ResNet-18", "resnet18", "12", "1.8", "70.6"),
    _other("RSB-ResNet-34", "resnet34", "22", "3.7", "75.5"),
    _other("RSB-ResNet-50", "resnet50", "26", "4.1", "79.8"),
    _other("RSB-ResNet-101", "resnet101", "45", "7.9", "81.3"),
    _other("RSB-ResNet-152", "resnet152", "60", "11.6", "81.8"),
    _other("ViT-B/16*", "vit_base_patch16_224", "86", "17.6", "79.7"),
    _other("ViT-L/16*", "vit_large_patch16_224", "307", "63.6", "76.1"),
    _other("DeiT-S", "deit_small_patch16_224", "22", "4.6", "79.8"),
    _other(
        "DeiT-B", "deit_base_patch16_224", "86", "17.5", "81.8", note="ViT-B/16's graph, which the row above prints as 17.6"
    ),
    _other("PVT-Tiny", None, "13", "1.9", "75.1", note="timm has PVT v2 only"),
    _other("PVT-Small", None, "25", "3.8", "79.8", note="timm has PVT v2 only"),
    _other("PVT-Medium", None, "44", "6.7", "81.2", note="timm has PVT v2 only"),
    _other("PVT-Large", None, "61", "9.8", "81.7", note="timm has PVT v2 only"),
    _other("MLP-Mixer-B/16", "mixer_b16_224", "59", "12.7", "76.4"),
    _other("ResMLP-S12", "resmlp_12_224", "15", "3.0", "76.6"),
    _other("ResMLP-S24", "resmlp_24_224", "30", "6.0", "79.4"),
    _other("ResMLP-B24", None, "116", "23.0", "81.0", note="timm has B24/8 only, of 129 M and 100 G"),
    _other("Swin-Mixer-T/D24", None, "20", "4.0", "79.4", image_size=256, note="timm has no Swin-Mixer"),
    _other("Swin-Mixer-T/D6", None, "23", "4.0", "79.7", image_size=256, note="timm has no Swin-Mixer"),
    _other("Swin-Mixer-B/D24", None, "61", "10.4", "81.3", note="timm has no Swin-Mixer"),
    _other("gMLP-S", "gmlp_s16_224", "20", "4.5", "79.6"),
    *POOLFORMERS,
)
ABLATIONS = (
    Row("None (PoolFormer-S12)", "ablation_baseline", "11.9", "1.8", "77.2"),
    Row("Pooling → Identity mapping", "ablation_identity", "11.9", "1.8", "74.3"),
    Row("Pooling → Global random matrix", "ablation_random", "11.9", "3.3", "75.8", frozen_params="21"),
    Row("Pooling → Depthwise Convolution", "ablation_dwconv", "11.9", "1.8", "78.1"),
    Row("Pooling size 3 → 5", "ablation_pool_size_5", "11.9", "1.8", "77.2"),
    Row("Pooling size 3 → 7", "ablation_pool_size_7", "11.9", "1.8", "77.1"),
    Row("Pooling size 3 → 9", "ablation_pool_size_9", "11.9", "1.8", "76.8"),
    Row("Modified LN → Layer Norm.", "ablation_norm_layer", "11.9", "1.8", "76.5"),
    Row("Modified LN → Batch Norm.", "ablation_norm_batch", "11.9", "1.8", "76.4"),
    Row("Modified LN → None", "ablation_norm_none", "11.9", "1.8", "46.1"),
    Row("GELU → ReLU", "ablation_activation_relu", "11.9", "1.8", "76.4"),
    Row("GELU → SiLU", "ablation_activation_silu", "11.9", "1.8", "77.2"),
    Row("Residual connection → None", "ablation_no_residual", "11.9", "1.8", "0.1"),
    Row("Channel MLP → None", "ablation_no_mlp", "2.5", "0.2", "5.7"),
    Row("[Pool, Pool, Pool, Attention]", "ablation_pppa", "14.0", "1.9", "78.3"),
    Row("[Pool, Pool, Attn, Attn]", "ablation_ppaa", "16.5", "2.5", "81.0"),
    Row("[Pool, Pool, Pool, SpatialFC]", "ablation_pppf", "11.9", "1.8", "77.5"),
    Row("[Pool, Pool, SpFC, SpFC]", "ablation_ppff", "12.2", "1.9", "77.9"),
)
# The authors' README prints IdentityFormer's accuracies for RandFormer too, which its own figure 1 contradicts: left out.
BASIC_MIXERS = (
    Row("IdentityFormer-S12", "identityformer_s12", "11.9", "1.8", "74.6"),
    Row("IdentityFormer-S24", "identityformer_s24", "21.3", "3.4", "78.2"),
    Row("IdentityFormer-S36", "identityformer_s36", "30.8", "5.0", "79.3"),
    Row("IdentityFormer-M36", "identityformer_m36", "56.1", "8.8", "80.0"),
    Row("IdentityFormer-M48", "identityformer_m48", "73.3", "11.5", "80.4"),
    Row("RandFormer-S12", "randformer_s12", "11.9", "1.9", None, frozen_params="0.2"),
    Row("RandFormer-S24", "randformer_s24", "21.3", "3.5", None, frozen_params="0.5"),
    Row("RandFormer-S36", "randformer_s36", "30.8", "5.2", None, frozen_params="0.7"),
    Row("RandFormer-M36", "randformer_m36", "56.1", "9.0", None, frozen_params="0.7"),
    Row("RandFormer-M48", "randformer_m48", "73.3", "11.9", None, frozen_params="0.9"),
    Row("PoolFormerV2-S12", "poolformerv2_s12", "11.9", "1.8", "78.0"),
    Row("PoolFormerV2-S24", "poolformerv2_s24", "21.3", "3.4", "80.7"),
    Row("PoolFormerV2-S36", "poolformerv2_s36", "30.8", "5.0", "81.6"),
    Row("PoolFormerV2-M36", "poolformerv2_m36", "56.1", "8.8", "82.2"),
    Row("PoolFormerV2-M48", "poolformerv2_m48", "73.3", "11.5", "82.6"),
)
COMMON_MIXERS = (
    Row("ConvFormer-S18", "convformer_s18", "27", "3.9", "83.0"),
    Row("ConvFormer-S36", "convformer_s36", "40", "7.6", "84.1"),
    Row("ConvFormer-M36", "convformer_m36", "57", "12.8", "84.5"),
    Row("ConvFormer-B36", "convformer_b36", "100", "22.6", "84.8"),
    Row("ConvFormer-S18 at 384", "convformer_s18", "27", "11.6", "84.4", image_size=384),
    Row("ConvFormer-S36 at 384", "convformer_s36", "40", "22.4", "85.4", image_size=384),
    Row("ConvFormer-M36 at 384", "convformer_m36", "57", "37.7", "85.6", image_size=384),
    Row("ConvFormer-B36 at 384", "convformer_b36", "100", "66.5", "85.7", image_size=384),
    Row("CAFormer-S18", "caformer_s18", "26", "4.1", "83.6"),
    Row("CAFormer-S36", "caformer_s36", "39", "8.0", "84.5"),
    Row("CAFormer-M36", "caformer_m36", "56", "13.2", "85.2"),
    Row("CAFormer-B36", "caformer_b36", "99", "23.2", "85.5"),
    Row("CAFormer-S18 at 384", "caformer_s18", "26", "13.4", "85.0", image_size=384),
    Row("CAFormer-S36 at 384", "caformer_s36", "39", "26.0", "85.7", image_size=384),
    Row("CAFormer-M36 at 384", "caformer_m36", "56", "42.0", "86.2", image_size=384),
    Row("CAFormer-B36 at 384", "caformer_b36", "99", "72.2", "86.4", image_size=384),
)
COMPARISON = (
    _other("Swin-B", "swin_base_patch4_window7_224", "88", "15.4", "83.5"),
    _other("CSwin-B", None, "78", "15.0", "84.2", note="timm has no CSwin"),
    _other("MViTv2-B", "mvitv2_base", "52", "10.2", "84.4"),
    _other("CoAtNet-2", "coatnet_2_224", "75", "15.7", "84.1", note="coatnet_2_rw_224 has 15.0 G"),
    _other("MaxViT-S", "maxvit_small_tf_224", "69", "11.7", "84.5"),
    _other("iFormer-L", None, "87", "14.0", "84.8", note="Inception Transformer; timm's iformer_l is arXiv:2501.15369"),
    Row("CAFormer-M36", "caformer_m36", "56", "13.2", "85.2"),
)
RIFORMERS = (
    *POOLFORMERS,
    Row("RIFormer-S12", "riformer_s12", "12", "1.8", "76.9"),
    Row("RIFormer-S24", "riformer_s24", "21", "3.4", "80.3"),
    Row("RIFormer-S36", "riformer_s36", "31", "5.0", "81.3"),
    Row("RIFormer-M36", "riformer_m36", "56", "8.8", "82.6"),
    Row("RIFormer-M48", "riformer_m48", "73", "11.6", "82.8"),
)
README = f"{BASELINES}, rows as in github.com/sail-sg/metaformer, README"

TABLES = (
    PrintedTable("PoolFormer, configurations", f"{POOLFORMER}, table 1", "without LayerScale", "fvcore", CONFIGURATIONS),
    PrintedTable("PoolFormer, ImageNet-1K", f"{POOLFORMER}, table 2", "without LayerScale", "fvcore", IMAGENET),
    PrintedTable("PoolFormer-S12, ablation study", f"{POOLFORMER}, table 5", "all", "core", ABLATIONS),
    PrintedTable("MetaFormer Baselines, basic token mixers", README, "all", "core", BASIC_MIXERS),
    PrintedTable("MetaFormer Baselines, common token mixers", README, "all", "core", COMMON_MIXERS),
    PrintedTable("MetaFormer Baselines, comparison", f"{BASELINES}, as in the slides", "all", "core", COMPARISON),
    PrintedTable("RIFormer, merged", f"{RIFORMER}, as in the slides", "without LayerScale", "fvcore", RIFORMERS),
)
