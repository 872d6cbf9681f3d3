"""The other way of counting against norms counted in the built network, and against a sum by hand."""

import pytest
import torch
from timm.layers import LayerNorm2d
from torch import nn

from nas.models.metaformer import build
from nas.papers.counting import fvcore_macs, params_without_layer_scale
from nas.space.architecture import Architecture, Stage
from nas.space.cost import cost
from nas.space.reference import design

PER_ENTRY = {nn.GroupNorm: 5, nn.LayerNorm: 5, LayerNorm2d: 5, nn.BatchNorm2d: 2, nn.BatchNorm1d: 2}
NETWORKS = ["poolformer_s12", "poolformer_s12_timm", "caformer_s18", "randformer_s12", "ablation_norm_batch", "ablation_no_mlp"]


def operations_of_norms(architecture, *, image_size):
    """What fvcore adds for norms, from the entries that reach them in a pass through the built network."""
    total = 0

    def add(module, inputs, output):
        nonlocal total
        kind = next(kind for kind in PER_ENTRY if isinstance(module, kind))
        total += PER_ENTRY[kind] * inputs[0].numel()

    with torch.device("meta"), torch.inference_mode():
        network = build(architecture, image_size=image_size, num_classes=10).eval()
        for module in network.modules():
            if isinstance(module, tuple(PER_ENTRY)):
                module.register_forward_hook(add)
        network(torch.empty(1, 3, image_size, image_size))
    return total


@pytest.mark.parametrize("name", [*NETWORKS, "ablation_norm_none", "ablation_ppaa"])
def test_fvcore_counts_five_an_entry_of_every_norm_that_the_network_runs(name):
    at = {"image_size": 64, "num_classes": 10}
    norms = fvcore_macs(design(name), **at) - cost(design(name), **at).macs
    assert norms == operations_of_norms(design(name), image_size=64)


def test_fvcore_counts_the_norms_of_a_stem_of_two_steps():
    architecture, at = design("caformer_s18").model_copy(update={"stem_steps": 2}), {"image_size": 64, "num_classes": 10}
    norms = fvcore_macs(architecture, **at) - cost(architecture, **at).macs
    assert norms == operations_of_norms(architecture, image_size=64)


def test_one_block_has_the_sum_worked_out_by_hand():
    stage = Stage(mixer="identity", depth=3, width=8, norm="batch", norm_bias=True, layer_scale=0.1)
    architecture = Architecture(stages=(stage,), head="mlp")
    n = 8 * 8  # 32 px behind a stem of stride 4
    norms = 5 * 8 * n + 3 * 2 * 2 * 8 * n + 5 * 8 + 5 * 32  # stem, two branches of three blocks, head, inside its MLP
    at = {"image_size": 32, "num_classes": 10}
    assert fvcore_macs(architecture, **at) == cost(architecture, **at).macs + norms
    assert params_without_layer_scale(architecture, **at) == cost(architecture, **at).params - 3 * 2 * 8


def test_only_m48_tells_the_two_counts_of_macs_apart_in_poolformers_table():
    at = {"image_size": 224, "num_classes": 1000}
    digits = {}
    for size in ("s12", "s24", "s36", "m36", "m48"):
        poolformer = design(f"poolformer_{size}")
        digits[size] = [f"{macs / 1e9:.1f}" for macs in (cost(poolformer, **at).macs, fvcore_macs(poolformer, **at))]
    assert digits.pop("m48") == ["11.5", "11.6"]
    assert all(core == fvcore for core, fvcore in digits.values())
