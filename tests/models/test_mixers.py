"""Each token mixer against its formula, worked out by hand or written in another way."""

import pytest
import torch
from torch import nn

from nas.models.mixers import mixer_class
from nas.space.architecture import Stage
from nas.space.mixers import MIXERS

torch.set_num_threads(1)
SIDE, WIDTH = 4, 16


def mixer(name, *, side=SIDE, activation=nn.ReLU, **options):
    torch.manual_seed(0)
    return mixer_class(name)(Stage(mixer=name, depth=1, width=WIDTH, **options), side=side, activation=activation)


def maps(side=SIDE):
    return torch.randn(2, WIDTH, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MIXERS)
def test_every_mixer_keeps_shape_and_batch_apart(name):
    x = maps().flatten(2).transpose(1, 2) if MIXERS[name].needs_tokens else maps()
    net = mixer(name, **({"head_dim": 8} if "head_dim" in MIXERS[name].options else {})).eval()
    assert net(x).shape == x.shape
    torch.testing.assert_close(net(x)[:1], net(x[:1]), rtol=0, atol=1e-6)


def test_pooling_averages_what_lies_inside_the_map_and_subtracts_the_input():
    x = torch.zeros(1, WIDTH, 3, 3)
    x[0, 0] = torch.tensor([[9.0, 0, 0], [0, 0, 0], [0, 0, 0]])
    expected = torch.tensor([[9 / 4 - 9, 9 / 6, 0], [9 / 6, 9 / 9, 0], [0, 0, 0]])  # corners see 4 positions, edges 6
    torch.testing.assert_close(mixer("pool", side=3)(x)[0, 0], expected)


def test_pooling_over_the_whole_map_leaves_the_mean():
    x = maps(side=3)
    mixed = mixer("pool", side=3, pool_size=5)(x)
    torch.testing.assert_close(mixed, x.mean((2, 3), keepdim=True) - x)


def test_identity_is_the_identity():
    assert torch.equal(mixer("identity")(maps()), maps())


def test_random_mixing_averages_all_positions_alike_in_every_channel():
    net, x = mixer("random"), maps()
    rows = net.random_matrix
    torch.testing.assert_close(rows.sum(1), torch.ones(SIDE**2))
    assert (rows.amax(1) / rows.amin(1) <= torch.e).all()  # a softmax of noise between 0 and 1
    by_hand = torch.einsum("mn,bcn->bcm", rows, x.flatten(2)).reshape(x.shape)
    torch.testing.assert_close(net(x), by_hand)


def test_the_random_matrix_is_frozen_but_saved():
    net = mixer("random")
    assert not net.random_matrix.requires_grad
    assert list(net.state_dict()) == ["random_matrix"]


def test_spatial_fc_mixes_positions_with_one_matrix_for_all_channels():
    net, x = mixer("spatial_fc"), maps()
    by_hand = torch.einsum("mn,bcn->bcm", net.fc.weight, x.flatten(2)).reshape(x.shape)
    torch.testing.assert_close(net(x), by_hand)
    assert net.fc.bias is None


def test_a_depthwise_convolution_sees_one_channel_at_a_time():
    net, x = mixer("dwconv"), maps()
    changed = x.clone()
    changed[:, 3] += 1
    touched = (net(changed) != net(x)).flatten(2).any(-1).any(0)
    assert touched.nonzero().flatten().tolist() == [3]


def test_a_separable_convolution_widens_and_has_the_activation_it_is_told():
    net = mixer("conv", activation=nn.SiLU, expansion=1.5, kernel_size=5)
    assert net.pwconv1.weight.shape == (24, WIDTH, 1, 1)
    assert net.dwconv.weight.shape == (24, 1, 5, 5)
    x = maps()
    by_hand = net.pwconv2(net.dwconv(nn.functional.silu(net.pwconv1(x))))
    torch.testing.assert_close(net(x), by_hand)
    assert all(p.ndim == 4 for p in net.parameters())  # no biases


def test_attention_is_softmax_of_scaled_products_in_each_head():
    net, x = mixer("attention", head_dim=8), torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(1))
    q, k, v = net.qkv(x).split(WIDTH, dim=-1)
    heads = []
    for head in (slice(0, 8), slice(8, 16)):
        weights = (q[..., head] @ k[..., head].transpose(1, 2) / 8**0.5).softmax(-1)
        heads.append(weights @ v[..., head])
    torch.testing.assert_close(net(x), net.proj(torch.cat(heads, -1)))


def test_linear_attention_weighs_values_by_products_of_relus_in_each_head():
    net, x = mixer("linear_attention", head_dim=8), maps()
    qkv = nn.functional.conv2d(x, net.qkv.conv.weight).flatten(2)  # (B, 3 C, N), of each head q, k and v
    heads = []
    for head in qkv.split(24, dim=1):
        q, k, v = (part.transpose(1, 2) for part in head.split(8, dim=1))  # each (B, N, 8)
        weights = q.relu() @ k.relu().transpose(1, 2)  # (B, N, N), which the module never holds
        heads.append((weights / (weights.sum(-1, keepdim=True) + 1e-5)) @ v)
    mixed = torch.cat(heads, -1).transpose(1, 2).reshape(x.shape)
    torch.testing.assert_close(net(x), nn.functional.conv2d(mixed, net.proj.conv.weight))
    assert list(net.state_dict()) == ["qkv.conv.weight", "proj.conv.weight"]  # timm's names in EfficientViT


@pytest.mark.parametrize("biased", [False, True])
def test_attention_has_a_projection_bias_on_demand_and_never_one_for_qkv(biased):
    net = mixer("attention", head_dim=8, proj_bias=biased)
    assert net.qkv.bias is None and (net.proj.bias is not None) is biased


def test_affine_scales_and_shifts_each_channel_and_subtracts_the_input():
    net, x = mixer("affine"), maps()
    nn.init.normal_(net.affine.bias)
    s, b = net.affine.weight.view(-1, 1, 1), net.affine.bias.view(-1, 1, 1)
    torch.testing.assert_close(net(x), (s - 1) * x + b)
