"""Which of the three levels an architecture reaches, and that timm makes the same network there."""

import json

import pytest
import timm
import torch

from nas.export.level import level_of
from nas.export.proof import proof_logits
from nas.models.metaformer import build
from nas.models.reparam import merge
from nas.models.timm_classes import StagewiseMetaFormer
from nas.space.architecture import Architecture, Stage
from nas.space.reference import design, designs, from_timm, timm_names

torch.set_num_threads(1)


def stagewise(name, **changes):
    """timm's design of that name with other stage fields."""
    known = from_timm(name)
    stages = [Stage(**{**stage.model_dump(), **changes}) for stage in known.stages]
    return Architecture(**{**known.model_dump(), "stages": stages})


@pytest.mark.parametrize("name", timm_names())
def test_timms_own_designs_are_timms_own_models(name):
    assert level_of(from_timm(name)) == ("A", name, {})


def test_reference_designs_reach_the_level_that_their_mixers_allow():
    letters = {name: level_of(architecture).letter for name, architecture in designs().items()}
    timms = {f"{name}_timm" if name.startswith("poolformer_") else name for name in timm_names()}
    own = ("randformer_", "ablation_random", "ablation_dwconv", "ablation_pp")
    assert {name for name, letter in letters.items() if letter == "A"} == timms
    assert {name for name in letters if name.startswith(own) or name.endswith("_train")} == {
        name for name, letter in letters.items() if letter == "C"
    }


def test_riformer_reaches_timms_classes_once_it_is_merged():
    net = build(design("riformer_s12_train"), image_size=32, num_classes=3)
    assert level_of(merge(net, design("riformer_s12_train"))[1]).letter == "B"


@pytest.mark.parametrize(
    "name, changes, network, arguments",
    [
        ("poolformer_s12", {"pool_size": 5}, {}, {"pool_size": 5}),
        pytest.param("poolformer_s12", {"layer_scale": 0.1}, {}, {}, marks=pytest.mark.slow),
        ("poolformerv2_s12", {"mlp_bias": True, "res_scale": False}, {},
         {"mlp_bias": True, "res_scale_init_values": [None] * 4}),
        pytest.param(
            "convformer_s18", {"kernel_size": 3, "layer_scale": 0.5}, {"head": "linear"},
            {"use_mlp_head": False, "kernel_size": 3, "padding": 1, "layer_scale_init_values": [0.5] * 4},
            marks=pytest.mark.slow),
        pytest.param(
            "caformer_s18", {"head_dim": 64, "proj_bias": True, "expansion": 1.5},
            {"stem_norm": False, "downsample_norm": False},
            {"downsample_norm": None, "head_dim": 64, "proj_bias": True, "expansion_ratio": 1.5}, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_json_arguments_make_timms_model_the_changed_design(name, changes, network, arguments):
    architecture = stagewise(name, **changes).model_copy(update=network)
    level = level_of(architecture)
    assert level == ("A", name, arguments) and json.loads(json.dumps(arguments)) == arguments
    torch.manual_seed(0)
    ours = build(architecture, image_size=32, num_classes=3).eval()
    classes = StagewiseMetaFormer(architecture, num_classes=3).eval()
    theirs = timm.models.model_entrypoint(name)(num_classes=3, **arguments).eval()
    for net in (classes, theirs):
        net.load_state_dict(ours.state_dict())
    logits = [proof_logits(net, image_size=32) for net in (theirs, classes, ours)]
    assert torch.equal(logits[0], logits[1])
    torch.testing.assert_close(logits[0], logits[2], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name, changes, network",
    [
        ("poolformerv2_s12", {"mlp_ratio": 3}, {}),
        ("poolformerv2_s12", {"activation": "gelu"}, {}),
        ("poolformerv2_s12", {}, {"head": "mlp"}),
        ("poolformerv2_s12", {}, {"stem_norm": False}),
        ("poolformerv2_s12", {}, {"stem_stride": 2}),
        ("poolformer_s12", {"mlp_bias": False}, {}),
        ("poolformer_s12", {"layer_scale": None}, {}),
        ("poolformer_s12", {}, {"head_norm": "norm_pool"}),
        ("poolformerv2_s12", {"mlp": "conv"}, {}),
        ("caformer_s18", {"se_ratio": 0.25}, {}),
        ("poolformerv2_s12", {"mixer": "linear_attention"}, {}),
        ("poolformerv2_s12", {}, {"stem_steps": 2}),
    ],
)
def test_what_timms_names_fix_needs_timms_classes(name, changes, network):
    assert level_of(stagewise(name, **changes).model_copy(update=network)).letter == "B"


def test_one_argument_for_all_stages_cannot_hold_two_values():
    known = from_timm("convformer_s18")
    first = known.stages[0].model_copy(update={"kernel_size": 3})
    assert level_of(known.model_copy(update={"stages": (first, *known.stages[1:])})).letter == "B"


@pytest.mark.parametrize("options", [{"mixer": "random"}, {"mixer": "dwconv"}, {"mixer": "pool", "position_embedding": True}])
def test_what_timm_has_no_weights_for_needs_ours(options):
    assert level_of(Architecture(stages=[Stage(**options, depth=1, width=16)])).letter == "C"
