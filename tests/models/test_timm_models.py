"""Our designs under timm's roof, and timm's under ours."""

import json

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import is_model, list_models, model_entrypoint
from torch import nn

from nas.errors import ConfigError, NasError
from nas.models import timm_models
from nas.models.metaformer import build
from nas.space.cost import cost
from nas.space.reference import design, designs, from_timm, timm_names

torch.set_num_threads(1)
SIZES = ("s12", "s24", "s36", "m36", "m48")


def image(side, batch=2):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_the_names_that_timm_lacks_are_registered():
    forms = ("identityformer_{}", "randformer_{}", "riformer_{}", "riformer_{}_train", "poolformer_{}_paper")
    wanted = {form.format(size) for form in forms for size in SIZES}
    ablations = {f"metaformer_{name}" for name in designs() if name.startswith("ablation_")}
    assert set(timm_models.REGISTERED) == wanted | ablations
    assert set(list_models(module="timm_models")) == wanted | ablations


def test_none_of_timms_own_names_is_taken():
    assert all(model_entrypoint(name).__module__.startswith("timm.") for name in timm_names())
    assert sorted(timm_names()) == sorted(list_models(module="metaformer"))


def spreads(network):
    """Mean absolute weight, and the largest bias, of each convolution and linear map with many weights."""
    layers = {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    large = {name: m for name, m in layers.items() if m.weight.numel() > 5000}
    biases = {name: 0 if m.bias is None else m.bias.abs().max().item() for name, m in large.items()}
    return {name: (m.weight.abs().mean().item(), biases[name]) for name, m in large.items()}


@pytest.mark.parametrize("name", ["poolformer_s12", "caformer_s18"])
def test_fresh_weights_are_spread_as_in_timm(name):
    torch.manual_seed(0)
    ours = spreads(build(design(name), image_size=224, num_classes=10))
    theirs = spreads(timm.create_model(name, num_classes=10))
    assert ours.keys() == theirs.keys()
    for layer, (weight, bias) in ours.items():
        assert (weight, bias) == (pytest.approx(theirs[layer][0], rel=0.06), theirs[layer][1]), layer


def test_every_design_has_a_name_in_timm():
    assert [name for name in designs() if not is_model(timm_models.timm_name(name))] == []


@pytest.mark.parametrize("name", ["identityformer_s12", "riformer_s12_train", "metaformer_ablation_ppaa"])
def test_a_model_of_that_name_has_the_designs_params_and_the_classes_asked_for(name):
    network = timm.create_model(name, num_classes=10, img_size=64).eval()
    architecture = timm_models.REGISTERED[name]
    assert sum(p.numel() for p in network.parameters()) == cost(architecture, image_size=64, num_classes=10).params
    assert network(image(64)).shape == (2, 10)
    assert network.pretrained_cfg["crop_pct"] == (1.0 if architecture.stem_norm else 0.9)


def test_maps_come_from_every_stage_also_where_mixers_fix_the_size():
    network = timm.create_model("randformer_s12", features_only=True, img_size=64)
    assert [tuple(m.shape[1:]) for m in network(image(64))] == [(64, 16, 16), (128, 8, 8), (320, 4, 4), (512, 2, 2)]
    assert network.feature_info.reduction() == [4, 8, 16, 32]
    some = timm.create_model("identityformer_s12", features_only=True, out_indices=(0, -2))
    assert some.feature_info.channels() == [64, 320]


def test_weights_are_never_pretended():
    with pytest.raises(NasError, match="no weights of riformer_s12 are published here"):
        timm.create_model("riformer_s12", pretrained=True)


def test_weights_of_a_local_directory_are_loaded(tmp_path):
    network = timm.create_model("identityformer_s12", num_classes=3).eval()
    save_file(network.state_dict(), tmp_path / "model.safetensors")
    config = {"architecture": "identityformer_s12", "num_classes": 3, "pretrained_cfg": {"input_size": [3, 64, 64]}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(again(image(64)), network(image(64)))


@pytest.mark.parametrize(
    "arguments, rule",
    [
        ({"global_pool": "catavgmax"}, "global_pool must be one of 'avg', 'max', .*but got 'catavgmax'"),
        ({"img_size": (64, 32)}, r"img_size must be the side of square images.*but got img_size=\(64, 32\)"),
    ],
)
def test_what_our_networks_cannot_be_is_refused(arguments, rule):
    with pytest.raises(ValueError, match=rule):
        timm.create_model("identityformer_s12", **arguments)


def test_an_unknown_keyword_is_an_error():
    with pytest.raises(TypeError, match="drop_pth_rate"):
        timm.create_model("identityformer_s12", drop_pth_rate=0.1)


def test_an_image_too_small_for_four_stages_is_refused():
    with pytest.raises(NasError, match="too small for 4 stages"):
        timm.create_model("identityformer_s12", img_size=16)


@pytest.mark.parametrize("size", ["s12", "s36"])
def test_timms_poolformer_has_our_layer_scale_and_its_own_order_of_norm_and_mean(size):
    with torch.device("meta"):
        values = timm.create_model(f"poolformer_{size}").stages[0].blocks[0].layer_scale1
    architecture = from_timm(f"poolformer_{size}.sail_in1k")
    assert values.scale.shape == (64,)
    assert architecture.stages[0].layer_scale == {"s12": 1e-5, "s36": 1e-6}[size]
    assert (architecture.head_norm, design(f"poolformer_{size}").head_norm) == ("pool_norm", "norm_pool")
    assert architecture.key != design(f"poolformer_{size}").key


def test_both_orders_of_norm_and_mean_share_weights_and_features_but_not_logits():
    torch.manual_seed(0)
    theirs = timm.create_model("poolformer_s12", num_classes=10).eval()
    ours, paper = (
        build(architecture, image_size=64, num_classes=10).eval()
        for architecture in (from_timm("poolformer_s12"), design("poolformer_s12"))
    )
    for network in (ours, paper):
        network.load_state_dict(theirs.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(ours(image(64)), theirs(image(64)), rtol=0, atol=1e-5)
        torch.testing.assert_close(paper.forward_features(image(64)), theirs.forward_features(image(64)), rtol=0, atol=1e-5)
        assert (paper(image(64)) - theirs(image(64))).abs().max() > 1e-2


def test_every_metaformer_of_timm_has_an_architecture_here():
    assert len(timm_names()) == 18
    heads = {name: from_timm(name).head_norm for name in timm_names()}
    assert set(heads.values()) == {"pool_norm"}
    with pytest.raises(ConfigError, match="unknown MetaFormer of timm 'caformer_s12'; did you mean caformer_s"):
        from_timm("caformer_s12")
