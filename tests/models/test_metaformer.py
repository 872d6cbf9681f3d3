"""The network against timm's eighteen, and what timm's cannot be: equal widths, other mixers, positions, resolutions."""

import json
from types import SimpleNamespace

import pytest
import timm
import torch
from timm.models._features import FeatureGetterNet

from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
from nas.space.mixers import MIXERS
from nas.space.reference import design

torch.set_num_threads(1)
TIMM = [
    *(f"{family}_{size}" for family in ("poolformer", "poolformerv2") for size in ("s12", "s24", "s36", "m36", "m48")),
    *(f"{family}_{size}" for family in ("convformer", "caformer") for size in ("s18", "s36", "m36", "b36")),
]
SMALL = [name for name in TIMM if name.endswith(("s12", "s18"))]


@pytest.fixture
def no_initial_values(monkeypatch):
    """Leaves out what takes nine tenths of building on the meta device, where there are no values."""
    for name in ("nas.models.metaformer.trunc_normal_", "timm.models.metaformer.trunc_normal_"):
        monkeypatch.setattr(name, lambda tensor, std: tensor)
    for name in ("kaiming_uniform_", "uniform_"):
        monkeypatch.setattr(torch.nn.init, name, lambda tensor, *args, **options: tensor)


def as_timm(name):
    """The paper's design with the head in timm's order, which differs for PoolFormer."""
    return Architecture(**{**design(name).model_dump(), "head_norm": "pool_norm"})


def pair(name, *, num_classes, image_size=224):
    """timm's network with perturbed weights, and ours with the same."""
    torch.manual_seed(0)
    theirs = timm.create_model(name, num_classes=num_classes).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    ours = build(as_timm(name), image_size=image_size, num_classes=num_classes).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def tiny(*stages, **changes):
    plain = {"mixer": "pool", "depth": 1, "width": 32}
    return Architecture(stages=[Stage(**{**plain, **stage}) for stage in stages], **changes)


def image(side, batch=2):
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", TIMM)
def test_every_key_and_shape_is_timms(name, no_initial_values):
    with torch.device("meta"):
        theirs, ours = timm.create_model(name), build(as_timm(name), image_size=224, num_classes=1000)
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in (theirs, ours)]
    assert shapes[0] == shapes[1]


@pytest.mark.thorough
@pytest.mark.parametrize("name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in TIMM])
def test_logits_are_timms(name):
    theirs, ours = pair(name, num_classes=1000)
    for side in (64, 160, 224, 288) if name == "poolformer_s12" else (64, 288):
        with torch.inference_mode():
            torch.testing.assert_close(ours(image(side, 1)), theirs(image(side, 1)), rtol=0, atol=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("name", SMALL)
def test_logits_of_ten_classes_features_and_maps_are_timms(name):
    theirs, ours = pair(name, num_classes=10, image_size=96)
    with torch.inference_mode():
        torch.testing.assert_close(ours(image(96)), theirs(image(96)), rtol=0, atol=1e-5)
        maps = ours.forward_features(image(96))
        torch.testing.assert_close(maps, theirs.forward_features(image(96)), rtol=0, atol=1e-5)
        features = ours.forward_head(maps, pre_logits=True)
        torch.testing.assert_close(features, theirs.forward_head(maps, pre_logits=True), rtol=0, atol=1e-5)


def test_poolformers_own_head_norms_the_map_before_the_mean():
    net = build(design("poolformer_s12"), image_size=64, num_classes=10).eval()
    maps = net.forward_features(image(64))
    normed = torch.nn.functional.group_norm(maps, 1, net.head.norm.weight, net.head.norm.bias, 1e-5)
    torch.testing.assert_close(net.forward_head(maps), net.head.fc(normed.mean((2, 3))))


def test_stages_of_equal_width_are_downsampled_too():
    net = build(tiny({}, {}, {}), image_size=64, num_classes=10)
    assert [m.shape[-1] for m in net.forward_intermediates(image(64), intermediates_only=True)] == [16, 8, 4]
    assert [info["reduction"] for info in net.feature_info] == [4, 8, 16]


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("norm", ["group", "layer", "batch", "none"])
@pytest.mark.parametrize("head_norm", ["pool_norm", "norm_pool"])
def test_every_mixer_with_every_norm_trains_under_bfloat16_in_channels_last(mixer, norm, head_norm):
    stage = {"mixer": mixer, "norm": norm, "res_scale": True, "layer_scale": 0.1, "position_embedding": True}
    net = build(tiny({**stage, "norm_bias": True}, stage, head_norm=head_norm), image_size=32, num_classes=10, drop_path=0.1)
    net = net.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = net(image(32).to(memory_format=torch.channels_last)).float().square().mean()
    loss.backward()
    missing = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing and loss.isfinite()


@pytest.mark.parametrize("mixer", MIXERS)
def test_memory_format_does_not_change_the_logits(mixer):
    net = build(tiny({"mixer": mixer}, {"mixer": mixer}), image_size=32, num_classes=10).eval()
    with torch.inference_mode():
        last = net(image(32).to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, net(image(32)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("stage", [{"mixer": "random"}, {"mixer": "spatial_fc"}, {"position_embedding": True}])
def test_another_resolution_is_refused_where_weights_belong_to_positions(stage):
    net = build(tiny({}, stage), image_size=64, num_classes=10)
    assert net(image(64)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"fits 64x64 px only, but got 32x32 px"):
        net(image(32))
    with pytest.raises(ValueError, match=r"64x64"):
        net.forward_intermediates(image(96))


def test_other_networks_take_any_resolution_and_rectangles():
    net = build(tiny({}, {"mixer": "attention"}), image_size=64, num_classes=10)
    assert net(torch.zeros(1, 3, 96, 40)).shape == (1, 10)


def test_the_position_embedding_is_added_after_the_downsampling():
    architecture = tiny({}, {"mixer": "attention", "position_embedding": True})
    net = build(architecture, image_size=64, num_classes=10).eval()
    stage = net.stages[1]
    assert stage.position_embedding.shape == (1, 32, 8, 8)
    x = torch.randn(1, 32, 16, 16)
    tokens = (stage.downsample(x) + stage.position_embedding).flatten(2).transpose(1, 2)
    torch.testing.assert_close(stage(x), stage.blocks(tokens).transpose(1, 2).reshape(1, 32, 8, 8))


def test_drop_path_rises_linearly_from_the_first_to_the_last_block():
    net = build(tiny({"depth": 2}, {"depth": 3}), image_size=32, num_classes=10, drop_path=0.4)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for stage in net.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("head, place", [("linear", "head.drop"), ("mlp", "head.fc.drop")])
def test_head_dropout_stands_before_the_last_linear_map(head, place):
    net = build(tiny({}, head=head), image_size=32, num_classes=10, head_dropout=0.3)
    rates = {name: m.p for name, m in net.named_modules() if isinstance(m, torch.nn.Dropout)}
    assert {name: p for name, p in rates.items() if p} == {place: 0.3}


def test_weights_start_as_truncated_normals_and_biases_at_zero():
    torch.manual_seed(0)
    net = build(design("poolformer_s12"), image_size=64, num_classes=1000)
    weight = net.stages[3].blocks[0].mlp.fc1.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.01) and abs(weight.mean().item()) < 1e-4
    assert net.stem.conv.bias.abs().max() == net.head.fc.bias.abs().max() == 0
    assert net.stages[0].blocks[0].layer_scale1.scale.unique().tolist() == pytest.approx([1e-5])


@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_a_classifier_can_be_replaced_and_left_out(head):
    net = build(tiny({}, head=head), image_size=32, num_classes=10)
    net.reset_classifier(7)
    assert (net(image(32)).shape, net.num_classes, net.get_classifier() is net.head.fc) == ((2, 7), 7, True)
    net.reset_classifier(0)
    assert net(image(32)).shape == (2, 32) == (2, net.num_features)
    with pytest.raises(ValueError, match=r"global_pool must be one of .*, but got 'mean'"):
        net.reset_classifier(7, global_pool="mean")


def test_timms_feature_getter_takes_maps_and_drops_the_rest():
    net = build(tiny({}, {"width": 64}, {"mixer": "attention"}), image_size=64, num_classes=10)
    net = FeatureGetterNet(net, out_indices=(0, -2))
    assert [tuple(m.shape[1:]) for m in net(image(64))] == [(32, 16, 16), (64, 8, 8)]
    assert (net.feature_info.channels(), net.feature_info.reduction()) == ([32, 64], [4, 8])
    assert not any(name.startswith(("model.stages.2", "model.head")) for name, _ in net.named_parameters())


@pytest.mark.parametrize("name", ["caformer_s18", "ablation_ppff", "riformer_s12_train", "ablation_no_mlp"])
def test_plain_json_builds_the_same_network(name):
    plain = json.loads(json.dumps(design(name).model_dump(mode="json")), object_hook=lambda data: SimpleNamespace(**data))
    with torch.device("meta"):
        nets = [build(architecture, image_size=64, num_classes=10) for architecture in (plain, design(name))]
    shapes = [{key: value.shape for key, value in net.state_dict().items()} for net in nets]
    assert shapes[0] == shapes[1] and str(nets[0]) == str(nets[1])
