"""Merged networks compute what the trained ones do, and say where nothing could be merged."""

import pytest
import torch

from nas.models.metaformer import build
from nas.models.reparam import merge, why_not
from nas.space.architecture import Architecture, Stage
from nas.space.reference import design

torch.set_num_threads(1)


def trained(architecture):
    """A network in eval mode whose weights and batch statistics are far from where they start."""
    torch.manual_seed(0)
    net = build(architecture, image_size=64, num_classes=10)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for name, buffer in net.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
            if name.endswith("running_var"):
                buffer.uniform_(0.1, 2)
    return net.eval()


def two_stages(norm, *, norm_bias, head_norm="norm_pool", **changes):
    stage = Stage(mixer="affine", depth=2, width=32, norm=norm, norm_bias=norm_bias, **changes)
    return Architecture(stages=(stage, stage), head_norm=head_norm)


def assert_same_logits(net, architecture, *, rtol=1e-5, atol=1e-5):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    copy, merged = merge(net, architecture)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1)).to(net.stem.conv.weight)
    with torch.inference_mode():
        torch.testing.assert_close(copy(images), net(images), rtol=rtol, atol=atol)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    return merged


def test_riformer_merges_into_its_deployed_design():
    merged = assert_same_logits(trained(design("riformer_s12_train")), design("riformer_s12_train"))
    assert merged == design("riformer_s12") and merged.key == design("riformer_s12").key


FURTHER = {"mlp": "conv", "se_ratio": 0.25}


@pytest.mark.parametrize("head_norm", ["pool_norm", "norm_pool"])
@pytest.mark.parametrize(
    "changes", [{}, {"residual": False}, {"mlp_ratio": 0}, {"res_scale": True, "layer_scale": 0.5}, FURTHER]
)
@pytest.mark.parametrize("norm, norm_bias", [("group", True), ("layer", True), ("batch", True), ("batch", False)])
def test_affine_mixers_merge_into_norms(norm, norm_bias, changes, head_norm):
    architecture = two_stages(norm, norm_bias=norm_bias, head_norm=head_norm, **changes)
    merged = assert_same_logits(trained(architecture), architecture)
    assert [(s.mixer, s.norm_bias) for s in merged.stages] == [("identity", True)] * 2


@pytest.mark.parametrize("norm_bias", [True, False])
def test_merging_is_exact_where_variances_are_as_small_as_eps(norm_bias):
    architecture = two_stages("batch", norm_bias=norm_bias)
    net = trained(architecture).double()
    for name, buffer in net.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0, 1e-5)
    assert_same_logits(net, architecture, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    "norm, reason",
    [("none", "there is no norm"), ("group", "its group norm has no bias"), ("layer", "its layer norm has no bias")],
)
def test_a_stage_that_cannot_be_merged_exactly_stays_and_says_why(norm, reason):
    architecture = two_stages(norm, norm_bias=False, layer_scale=0.5)
    assert reason in why_not(architecture.stages[0])
    assert assert_same_logits(trained(architecture), architecture) == architecture


def test_other_stages_are_left_as_they_are():
    stages = [Stage(mixer=m, depth=1, width=32, norm="group", norm_bias=True) for m in ("affine", "pool", "attention")]
    architecture = Architecture(stages=stages)
    merged = assert_same_logits(trained(architecture), architecture)
    assert [s.mixer for s in merged.stages] == ["identity", "pool", "attention"]
