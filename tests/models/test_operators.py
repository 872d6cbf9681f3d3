"""Every fast form of an operator gives the numbers of the plain one, forward and backward."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.models.operators import SHORT, attend, average, filtered

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
@settings(deadline=None, max_examples=60)
def test_the_average_is_that_of_torchs_pooling(side, size, last):
    x = torch.randn(2, 3, *side, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last) if last else x
    assert_equal(lambda x: average(x, size), lambda x: F.avg_pool2d(x, size, 1, size // 2, count_include_pad=False), x)


def test_other_devices_take_torchs_own():
    x = torch.empty(1, 2, 5, 5, device="meta")
    assert average(x, 3).shape == filtered(x, torch.empty(2, 1, 7, 7, device="meta")).shape == (1, 2, 5, 5)


@pytest.mark.parametrize("tokens", [1, 16, 49, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
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
