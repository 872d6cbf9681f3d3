"""Architectures in timm's classes compute what ours do, but for the rounding of our faster operators, under the same names."""

import pytest
import timm
import torch

from nas.models.metaformer import build, network_for_timm
from nas.models.timm_classes import StagewiseMetaFormer
from nas.space.architecture import Architecture, Stage
from nas.space.reference import design, from_timm, timm_names

torch.set_num_threads(1)
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def both(architecture):
    """Our network with weights that all count, and timm's classes with the same ones."""
    torch.manual_seed(0)
    ours = build(architecture, image_size=64, num_classes=7)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter) + 0.1 * (parameter.ndim < 2))
        for name, buffer in ours.named_buffers():
            if name.endswith("running_var"):
                buffer.uniform_(0.1, 2)
    theirs = StagewiseMetaFormer(architecture, num_classes=7)
    theirs.load_state_dict(ours.state_dict())
    return ours.eval(), theirs.eval()


def assert_same(ours, theirs):
    with torch.inference_mode():
        torch.testing.assert_close(theirs(IMAGES), ours(IMAGES), rtol=0, atol=1e-6)


def hybrid(**options):
    mixers = {"conv": {"kernel_size": 5, "expansion": 1.5}, "identity": {}, "attention": {"head_dim": 16, "proj_bias": True},
              "linear_attention": {"head_dim": 8}}  # fmt: skip
    return [Stage(mixer=mixer, depth=2, width=32, **own, **options) for mixer, own in mixers.items()]


@pytest.mark.parametrize("activation", ["gelu", "relu", "silu", "star_relu", "squared_relu"])
def test_every_activation_is_the_same(activation):
    ours, theirs = both(Architecture(stages=hybrid(activation=activation, mlp_ratio=2.5, mlp_bias=True, res_scale=True)))
    assert_same(ours, theirs)


@pytest.mark.parametrize("head_norm", ["pool_norm", "norm_pool"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["group", "layer", "batch", "none"])
def test_every_norm_is_the_same_on_maps_and_on_tokens(norm, bias, head_norm):
    stages = hybrid(norm=norm, norm_bias=bias)
    architecture = Architecture(stages=[stages[0], stages[2], stages[1]], head_norm=head_norm)
    ours, theirs = both(architecture)
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    "options, network",
    [
        ({"residual": False}, {}),
        ({"mlp_ratio": 0}, {"head": "mlp"}),
        ({"residual": False, "mlp_ratio": 0, "layer_scale": 0.5}, {}),
        ({"layer_scale": 0.5}, {"stem_kernel": 3, "stem_stride": 2, "stem_norm": False}),
        ({}, {"downsample_norm": False}),
        ({"mlp": "conv", "mlp_ratio": 1.7, "mlp_bias": True}, {}),
        ({"se_ratio": 0.25, "layer_scale": 0.5}, {}),
        ({"mlp": "conv", "se_ratio": 0.1, "residual": False}, {"stem_steps": 2}),
        ({}, {"stem_steps": 2, "stem_stride": 2, "stem_norm": False}),
    ],
)
def test_what_timms_arguments_cannot_say_is_the_same(options, network):
    ours, theirs = both(Architecture(stages=hybrid(**options), **network))
    assert_same(ours, theirs)
    with torch.inference_mode():
        for found, wanted in zip(theirs.forward_intermediates(IMAGES)[1], ours.forward_intermediates(IMAGES)[1], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert theirs.feature_info == ours.feature_info


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n.endswith("12") else pytest.mark.slow) for n in timm_names()])
def test_our_weights_have_timms_names_and_shapes_in_all_of_its_metaformers(name):
    """So that nothing is renamed on the way to timm, nor back."""
    with torch.device("meta"):
        theirs = timm.create_model(name).state_dict()
        ours = build(from_timm(name), image_size=224, num_classes=1000).state_dict()
        between = StagewiseMetaFormer(from_timm(name), num_classes=1000).state_dict()
    shapes = [{key: value.shape for key, value in state.items()} for state in (theirs, ours, between)]
    assert shapes[0] == shapes[1] == shapes[2]


def test_dropout_of_an_mlp_with_a_convolution_is_that_of_ours():
    architecture = Architecture(stages=hybrid(mlp="conv"))
    ours = network_for_timm(architecture, num_classes=7, img_size=64, proj_drop_rate=0.3)
    theirs = StagewiseMetaFormer(architecture, num_classes=7, proj_drop_rate=0.3)
    places = [{n for n, m in net.named_modules() if isinstance(m, torch.nn.Dropout) and m.p} for net in (ours, theirs)]
    behind = {f"stages.{i}.blocks.{j}.drop_path2.0" for i in range(4) for j in range(2)}
    assert behind <= places[0] and behind <= places[1]


def test_drop_path_rises_as_in_ours():
    architecture = design("riformer_s12")
    ours = build(architecture, image_size=64, num_classes=7, drop_path=0.2)
    theirs = StagewiseMetaFormer(architecture, num_classes=7, drop_path_rate=0.2)
    rates = [[m.drop_prob for m in net.modules() if hasattr(m, "drop_prob")] for net in (ours, theirs)]
    assert rates[0] == rates[1] and len(rates[0]) == 2 * 12 - 2
