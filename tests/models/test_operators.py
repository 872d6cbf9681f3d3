"""Every fast form of an operator gives the numbers of the plain one, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.efficientvit_mit import LiteMLA

from nas.models.operators import (
    FEW_POSITIONS,
    SHORT,
    alike,
    attend,
    attend_linearly,
    average,
    channel_map,
    filtered,
    gelu,
    group_norm,
    layer_norm,
)

torch.set_num_threads(1)


def gradient(function, x):
    x = x.detach().requires_grad_()
    out = function(x)
    (out.float() * torch.linspace(-1, 1, out.numel()).view(out.shape)).sum().backward()
    return out.detach(), x.grad


def assert_equal(fast, plain, x, atol=1e-5):
    for ours, theirs in zip(gradient(fast, x), gradient(plain, x), strict=True):
        torch.testing.assert_close(ours.float(), theirs.float(), rtol=1e-5, atol=atol)


@given(side=st.tuples(st.integers(1, 12), st.integers(1, 12)), size=st.sampled_from([1, 3, 5, 7, 9]), last=st.booleans())
@settings(max_examples=60)
def test_the_average_is_that_of_torchs_pooling(side, size, last):
    x = torch.randn(2, 3, *side, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    assert_equal(lambda x: average(x, size), lambda x: F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False), x)


@given(channels=st.integers(2, 70), positions=st.integers(1, 40), biased=st.booleans(), narrow=st.booleans())
@settings(max_examples=60)
def test_norms_are_torchs_in_bf16_as_in_float32(channels, positions, biased, narrow):
    draws = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(channels, generator=draws) for _ in range(2))
    own = bias if biased else None
    x = torch.randn(3, positions, channels, generator=draws)
    x = x.bfloat16() if narrow else x
    close = 0.05 if narrow else 1e-5  # bf16 has eight bits
    shape = (channels,)
    layer = layer_norm(x, shape, weight, own, 1e-6)
    assert layer.dtype == x.dtype
    torch.testing.assert_close(layer.float(), F.layer_norm(x.float(), shape, weight, own, 1e-6), rtol=close, atol=close)
    group = group_norm(x.transpose(1, 2), weight, own, 1e-6)
    assert group.dtype == x.dtype
    plain = F.group_norm(x.transpose(1, 2).float(), 1, weight, own, 1e-6)
    torch.testing.assert_close(group.float(), plain, rtol=close, atol=close)


def test_other_devices_take_torchs_own():
    x = torch.empty(1, 2, 5, 5, device="meta")
    assert average(x, 3).shape == filtered(x, torch.empty(2, 1, 7, 7, device="meta")).shape == gelu(x).shape == (1, 2, 5, 5)
    assert channel_map(x, torch.empty(7, 2, 1, 1, device="meta"), None).shape == (1, 7, 5, 5)
    assert alike(torch.ones(2), x.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("device", ["meta", *(["cuda"] if torch.cuda.is_available() else [])])
def test_a_gradient_on_another_device_is_that_of_a_contiguous_map(device):
    """In channels_last torch's own is wrong on CUDA: pytorch#188344."""
    last = torch.randn(2, 4, 6, 6).to(memory_format=torch.channels_last)
    x = last.to(device).requires_grad_()
    y = average(x, 3)
    assert y.is_contiguous()
    assert average(x.detach(), 3).is_contiguous(memory_format=torch.channels_last)
    if device == "cuda":
        reference = last.double().requires_grad_()
        grown = torch.randn(2, 4, 6, 6)
        F.avg_pool2d(reference, 3, stride=1, padding=1, count_include_pad=False).backward(grown.double())
        y.backward(grown.to(device))
        torch.testing.assert_close(x.grad.cpu(), reference.grad.float())


@pytest.mark.parametrize("last", [False, True])
def test_linear_attention_is_that_of_timms_lite_mla(last):
    torch.manual_seed(0)
    timms = LiteMLA(16, 16, dim=8, norm_layer=None, scales=())
    x = torch.randn(2, 16, 5, 3)
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    assert_equal(lambda x: timms.proj(attend_linearly(timms.qkv(x), 8, timms.eps)), timms, x)


def test_linear_attention_computes_in_float32_under_autocast():
    qkv = torch.randn(2, 48, 5, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = attend_linearly(qkv, 8, 1e-5)
    assert mixed.dtype == torch.bfloat16
    assert torch.equal(mixed, attend_linearly(qkv.float(), 8, 1e-5).bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tokens", [1, 16, 49, 100])
def test_attention_is_torchs_fused_one(tokens, dtype):
    q, k, v = torch.randn(3, 2, 4, tokens, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05  # bf16 holds three decimal digits
    assert_equal(lambda q: attend(q, k, v), lambda q: F.scaled_dot_product_attention(q, k, v), q, atol=tolerance)


def test_products_of_short_sequences_are_exact_in_bf16_up_to_its_rounding():
    q, k, v = torch.randn(3, 1, 2, 64, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    exact = F.scaled_dot_product_attention(q.double(), k.double(), v.double())
    assert (attend(q, k, v).double() - exact).abs().max() < 0.01


def test_long_sequences_hold_no_matrix_of_all_pairs(monkeypatch):
    asked = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda q, k, v: asked.append(q.shape[2]) or v)
    for tokens in (SHORT, SHORT + 1):
        q = torch.empty(1, 1, tokens, 1, dtype=torch.bfloat16)
        attend(q, q, q)
    assert asked == [SHORT + 1]


@pytest.mark.parametrize("size", [3, 5, 7])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_depthwise_filter_is_torchs_convolution(size, autocast):
    weight = torch.randn(6, 1, size, size, generator=torch.Generator().manual_seed(0), requires_grad=True)
    x = torch.randn(2, 6, 9, 9, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=torch.channels_last)

    def filtered_here(x):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return filtered(x, weight)

    tolerance = 0.2 if autocast and size == 3 else 1e-5  # a 3x3 kernel stays in bf16: sums of nine products of normals
    assert_equal(filtered_here, lambda x: F.conv2d(x, weight, padding=size // 2, groups=6), x, atol=tolerance)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_map_of_the_channels_is_a_1x1_convolution(last, autocast):
    drawn = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(6, 4, 1, 1, generator=drawn, requires_grad=True), torch.randn(6, generator=drawn)
    x = torch.randn(2, 4, 5, 3, generator=drawn)
    x = x.contiguous(memory_format=torch.channels_last) if last else x

    def mapped(x):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            return channel_map(x, weight, bias)

    assert_equal(mapped, lambda x: F.conv2d(x, weight, bias), x, atol=0.1 if autocast else 1e-5)


def test_a_map_of_the_channels_gives_its_weights_the_gradient_of_a_convolution():
    x = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)
    gradients = []
    for function in (channel_map, F.conv2d):
        weight, bias = torch.ones(6, 4, 1, 1, requires_grad=True), torch.zeros(6, requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            function(x, weight, bias).float().square().sum().backward()
        gradients.append((weight.grad, bias.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.02, atol=0.5)  # sums of 30 squares in three decimal digits


def test_products_of_matrices_map_channels_only_where_a_training_in_bf16_has_them_last_and_few_positions(monkeypatch):
    multiplied, plain = [], F.linear
    monkeypatch.setattr(F, "linear", lambda *given: multiplied.append(True) or plain(*given))
    x, weight = torch.randn(1, 2, 3, 3), torch.randn(2, 2, 1, 1, requires_grad=True)
    last = x.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        channel_map(x, weight, None)
        with torch.no_grad():
            channel_map(last, weight, None)
        channel_map(torch.randn(1, 2, FEW_POSITIONS + 1, 2).contiguous(memory_format=torch.channels_last), weight, None)
    channel_map(last, weight, None)
    assert not multiplied
    with torch.autocast("cpu", dtype=torch.bfloat16):
        channel_map(last, weight, None)
    assert multiplied


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 7, 3), (1, 3, 1, 1)])
@pytest.mark.parametrize("last", [False, True])
def test_gelu_is_torchs_own(shape, last):
    x = 3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last) if last and x.dim() == 4 else x
    assert_equal(gelu, F.gelu, x)
    assert gelu(x).stride() == x.stride()


def test_weights_meet_a_bf16_map_of_a_cpu_in_bf16_and_any_other_as_they_are():
    weights = torch.tensor([1e-5])
    assert alike(weights, torch.ones(1, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert alike(weights, torch.ones(1)) is weights
