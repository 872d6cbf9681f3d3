"""Norms, activations, scales, stem, downsampling and the block, against papers' formulas and torch's own layers."""

import numpy as np
import pytest
import torch
from timm.models import mambaout
from timm.models.metaformer import SepConv
from torch import nn

from nas.models.blocks import (
    Downsampling,
    MetaFormerBlock,
    MLPHead,
    Scale,
    StarReLU,
    Stem,
    TwoStepStem,
    activation_class,
)
from nas.models.norms import norm
from nas.space.activations import ACTIVATIONS
from nas.space.architecture import Architecture, Stage

torch.set_num_threads(1)


def block(**changes):
    torch.manual_seed(0)
    stage = Stage(**{"mixer": "pool", "depth": 1, "width": 8, **changes})
    return MetaFormerBlock(stage, side=4, drop_path=0.0).eval()


def maps():
    return torch.randn(3, 8, 4, 4, generator=torch.Generator().manual_seed(1))


def network(**changes):
    return Architecture(stages=(Stage(mixer="pool", depth=1, width=8),), **changes)


def gaussian(function):
    """Expectation of `function` under the standard normal distribution, by quadrature on both sides of its kink at 0."""
    nodes, weights = np.polynomial.legendre.leggauss(100)
    x = 6 * np.concatenate([nodes - 1, nodes + 1])  # -12 to 0, 0 to 12
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return float(np.sum(6 * np.tile(weights, 2) * density * function(x)))


def test_star_relu_constants_whiten_a_normal_input():
    mean = gaussian(lambda x: np.maximum(x, 0) ** 2)
    variance = gaussian(lambda x: np.maximum(x, 0) ** 4) - mean**2
    assert (mean, variance) == (pytest.approx(0.5), pytest.approx(1.25))
    assert (variance**-0.5, mean * variance**-0.5) == (pytest.approx(0.8944, abs=5e-5), pytest.approx(0.4472, abs=5e-5))
    act = StarReLU()
    act.load_state_dict({"scale": torch.tensor([0.8944]), "bias": torch.tensor([-0.4472])})
    assert gaussian(lambda x: act(torch.tensor(x)).detach().numpy()) == pytest.approx(0, abs=1e-4)
    assert gaussian(lambda x: act(torch.tensor(x)).detach().numpy() ** 2) == pytest.approx(1, abs=2e-4)


def test_star_relu_starts_as_squared_relu_and_learns_two_scalars():
    x = torch.tensor([-2.0, 0.0, 3.0])
    assert StarReLU()(x).tolist() == activation_class("squared_relu")()(x).tolist() == [0, 0, 9]
    learned = {name: sum(p.numel() for p in activation_class(name)().parameters()) for name in ACTIVATIONS}
    assert learned == {"gelu": 0, "relu": 0, "silu": 0, "star_relu": 2, "squared_relu": 0}


def test_a_group_norm_takes_its_statistics_over_channels_and_positions():
    x = maps()
    expected = (x - x.mean((1, 2, 3), keepdim=True)) / (x.var((1, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(norm("group", 8, bias=True)(x), expected)


def test_a_layer_norm_takes_its_statistics_over_channels_at_each_position():
    x = maps()
    expected = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(norm("layer", 8, bias=False)(x), expected)


@pytest.mark.parametrize("bias, eps", [(True, 1e-5), (False, 1e-6)])
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("kind", ["group", "layer", "batch"])
def test_eps_is_1e_5_with_a_bias_and_1e_6_without(kind, tokens, bias, eps):
    layer = norm(kind, 8, bias=bias, tokens=tokens)
    assert (layer.eps, layer.bias is not None) == (eps, bias)
    assert set(dict(layer.named_parameters())) == ({"weight", "bias"} if bias else {"weight"})


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["group", "layer", "batch", "none"])
def test_norms_are_the_same_on_maps_and_on_tokens(kind, bias, training):
    on_maps, on_tokens = (norm(kind, 8, bias=bias, tokens=tokens).train(training) for tokens in (False, True))
    for parameter in on_maps.parameters():
        nn.init.normal_(parameter)
    on_tokens.load_state_dict(on_maps.state_dict())
    tokens = on_tokens(maps().flatten(2).transpose(1, 2))
    torch.testing.assert_close(tokens.transpose(1, 2).reshape(maps().shape), on_maps(maps()))


def test_no_norm_has_no_parameters_and_changes_nothing():
    assert torch.equal(norm("none", 8, bias=True)(maps()), maps())


@pytest.mark.parametrize("tokens", [False, True])
def test_a_scale_multiplies_channels(tokens):
    layer = Scale(8, value=0.5, tokens=tokens)
    with torch.no_grad():
        layer.scale[2] = 3
    x = maps().flatten(2).transpose(1, 2) if tokens else maps()
    factors = torch.tensor([0.5, 0.5, 3, 0.5, 0.5, 0.5, 0.5, 0.5])
    torch.testing.assert_close(layer(x), x * (factors if tokens else factors.view(8, 1, 1)))


@pytest.mark.parametrize("kernel, stride, side", [(7, 4, 56), (7, 2, 112), (4, 4, 56), (3, 2, 112), (5, 4, 56)])
def test_the_stem_divides_the_side_by_its_stride(kernel, stride, side):
    net = Stem(network(stem_kernel=kernel, stem_stride=stride))
    assert net(torch.zeros(1, 3, 224, 224)).shape == (1, 8, side, side)


@pytest.mark.parametrize("stride, strides, side", [(4, [2, 2], 56), (2, [2, 1], 112), (1, [1, 1], 224)])
def test_a_stem_of_two_steps_divides_the_side_by_the_same_stride(stride, strides, side):
    net = TwoStepStem(network(stem_steps=2, stem_stride=stride))
    assert [conv.stride[0] for conv in (net.conv1, net.conv2)] == strides
    assert net(torch.zeros(1, 3, 224, 224)).shape == (1, 8, side, side)


def test_a_stem_of_two_steps_is_that_of_mambaout():
    """timm's, with layer norms without biases."""
    torch.manual_seed(0)
    ours, theirs = TwoStepStem(network(stem_steps=2)), mambaout.Stem(3, 8)
    nn.init.normal_(ours.norm1.weight)
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["norm1.bias", "norm2.bias"], [])
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(ours(images), theirs(images).permute(0, 3, 1, 2))


def test_a_stem_of_two_steps_without_norms_has_none_between_either():
    assert {name.partition(".")[0] for name in TwoStepStem(network(stem_steps=2, stem_norm=False)).state_dict()} == {
        "conv1", "conv2",
    }  # fmt: skip


@pytest.mark.parametrize("before, after", [(56, 28), (7, 4), (5, 3), (2, 1)])
def test_downsampling_halves_the_side_and_rounds_up(before, after):
    assert Downsampling(4, 8, with_norm=False)(torch.zeros(1, 4, before, before)).shape == (1, 8, after, after)


def test_a_block_is_two_normed_branches_beside_their_skips():
    net, x = block(layer_scale=0.3, res_scale=True), maps()
    nn.init.normal_(net.res_scale1.scale)
    x1 = net.res_scale1(x) + 0.3 * net.token_mixer(net.norm1(x))
    x2 = net.res_scale2(x1) + 0.3 * net.mlp(net.norm2(x1))
    torch.testing.assert_close(net(x), x2)


def test_a_block_without_residual_is_its_branches_alone():
    net, x = block(residual=False), maps()
    x1 = net.token_mixer(net.norm1(x))
    torch.testing.assert_close(net(x), net.mlp(net.norm2(x1)))


def test_a_block_without_an_mlp_has_no_second_norm():
    net = block(mlp_ratio=0, layer_scale=0.1)
    assert [name for name, _ in net.named_parameters()] == ["norm1.weight", "layer_scale1.scale"]


@pytest.mark.parametrize("name, layer", [(name, activation_class(name)) for name in ACTIVATIONS])
def test_the_activation_of_the_stage_stands_in_mlp_and_separable_convolution(name, layer):
    net = block(mixer="conv", activation=name)
    assert type(net.mlp.act) is type(net.token_mixer.act1) is layer


def test_an_mlp_on_tokens_is_an_mlp_on_maps():
    on_maps, on_tokens = (block(mixer=m, mlp_bias=True, head_dim=8).mlp for m in ("identity", "attention"))
    weights = on_maps.state_dict()
    on_tokens.load_state_dict({key: value.squeeze() if value.ndim == 4 else value for key, value in weights.items()})
    tokens = on_tokens(maps().flatten(2).transpose(1, 2))
    torch.testing.assert_close(tokens.transpose(1, 2).reshape(maps().shape), on_maps(maps()))


@pytest.mark.parametrize("bias", [False, True])
def test_an_mlp_with_a_convolution_is_timms_inverted_separable_convolution(bias):
    ours = block(mlp="conv", mlp_ratio=2.5, mlp_bias=bias, activation="silu").mlp
    theirs = SepConv(8, expansion_ratio=2.5, act1_layer=nn.SiLU, bias=bias, kernel_size=3, padding=1)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(theirs(maps()), ours(maps()))


@pytest.mark.parametrize("mixer", ["pool", "attention"])
def test_squeeze_and_excitation_gates_what_the_mixer_gives_by_its_channels_means(mixer):
    net, x = block(mixer=mixer, se_ratio=0.5, mlp_ratio=0, head_dim=8), maps()
    normed = net.norm1(x)
    mixed = normed.flatten(2).transpose(1, 2) if mixer == "attention" else normed
    mixed = net.token_mixer(mixed)
    mixed = mixed.transpose(1, 2).reshape(x.shape) if mixer == "attention" else mixed
    squeeze, excite = net.se.fc1, net.se.fc2
    inner = torch.relu(mixed.mean((2, 3)) @ squeeze.weight.flatten(1).T + squeeze.bias)  # (B, 4)
    gate = torch.sigmoid(inner @ excite.weight.flatten(1).T + excite.bias)  # (B, 8)
    torch.testing.assert_close(net(x), x + mixed * gate[:, :, None, None])


def test_dropout_of_an_mlp_with_a_convolution_stands_behind_it():
    made = MetaFormerBlock(Stage(mixer="pool", depth=1, width=8, mlp="conv"), side=4, drop_path=0.0, dropout=0.3)
    assert [module.p for module in made.modules() if isinstance(module, nn.Dropout)] == [0.3]


def test_the_mlp_head_is_four_times_as_wide():
    net = MLPHead(8, 10, dropout=0.5)
    assert (net.fc1.out_features, net.fc2.in_features, net.norm.eps, net.drop.p) == (32, 32, 1e-6, 0.5)
