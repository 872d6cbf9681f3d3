"""Cost against three witnesses: the built network's own counts, the papers' printed digits, a measured peak of live bytes."""

from contextlib import contextmanager
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from nas.errors import Infeasible
from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
from nas.space.cost import cost, feature_sides
from nas.space.geometry import stem_sides
from nas.space.mixers import row_of
from nas.space.reference import design, designs

torch.set_num_threads(1)


MIXERS = ["pool", "identity", "random", "conv", "dwconv", "attention", "spatial_fc", "affine", "linear_attention"]


def deep(name):
    """A design whose depth makes even the meta device slow."""
    return pytest.param(name, marks=pytest.mark.slow)


@contextmanager
def no_initial_values():
    """Leaves out what takes nine tenths of building on the meta device, where there are no values."""
    with (
        patch("nas.models.metaformer.trunc_normal_", lambda tensor, std: tensor),
        patch("torch.nn.init.kaiming_uniform_"),
        patch("torch.nn.init.uniform_"),
    ):
        yield


def counted(architecture, *, image_size, num_classes):
    """Trainable parameters, frozen parameters and FlopCounterMode's MACs of the built network, on no device at all."""
    with torch.device("meta"), torch.no_grad(), no_initial_values():
        model = build(architecture, image_size=image_size, num_classes=num_classes).eval()
        with FlopCounterMode(display=False) as flops:
            model(torch.empty(1, 3, image_size, image_size))
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    return trainable, frozen, flops.get_total_flops() / 2


@pytest.mark.thorough
@pytest.mark.parametrize("image_size", [160, 224, pytest.param(384, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [n if sum(s.depth for s in d.stages) < 20 else deep(n) for n, d in designs().items()])
def test_cost_is_what_the_built_network_counts(name, image_size):
    found = cost(design(name), image_size=image_size, num_classes=1000)
    assert found[:3] == counted(design(name), image_size=image_size, num_classes=1000)


@st.composite
def stages(draw):
    mixer = draw(st.sampled_from(MIXERS))
    return Stage(
        mixer=mixer,
        depth=draw(st.integers(1, 2)),
        width=draw(st.sampled_from([16, 32, 48])),
        norm=draw(st.sampled_from(["group", "layer", "batch", "none"])),
        norm_bias=draw(st.booleans()),
        mlp_ratio=draw(st.sampled_from([0, 0.5, 1.7, 4.0])),
        mlp=draw(st.sampled_from(["plain", "conv"])),
        mlp_bias=draw(st.booleans()),
        activation=draw(st.sampled_from(["gelu", "relu", "silu", "star_relu", "squared_relu"])),
        residual=draw(st.booleans()),
        res_scale=draw(st.booleans()),
        layer_scale=draw(st.sampled_from([None, 1e-5])),
        position_embedding=draw(st.booleans()),
        se_ratio=draw(st.sampled_from([0, 0.1, 0.25])),
        pool_size=draw(st.sampled_from([3, 5])),
        kernel_size=draw(st.sampled_from([3, 7])),
        expansion=draw(st.sampled_from([0.5, 2.0])),
        head_dim=draw(st.sampled_from([8, 16])),
        proj_bias=draw(st.booleans()),
    )


@st.composite
def architectures(draw, *, max_stages=4):
    return Architecture(
        stages=draw(st.lists(stages(), min_size=1, max_size=max_stages)),
        stem_steps=draw(st.sampled_from([1, 2])),
        stem_kernel=draw(st.sampled_from([4, 5, 7])),
        stem_stride=draw(st.sampled_from([1, 2, 4])),
        stem_norm=draw(st.booleans()),
        downsample_norm=draw(st.booleans()),
        head=draw(st.sampled_from(["linear", "mlp"])),
        head_norm=draw(st.sampled_from(["pool_norm", "norm_pool"])),
    )


def check_random(architecture, image_size, num_classes):
    found = cost(architecture, image_size=image_size, num_classes=num_classes)
    assert found[:3] == counted(architecture, image_size=image_size, num_classes=num_classes)
    assert Architecture.model_validate(architecture.to_dict()) == architecture


EVERYTHING = given(architectures(), st.integers(36, 75), st.sampled_from([2, 10]))
PATIENT = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


@pytest.mark.thorough
@settings(max_examples=100, derandomize=True, **PATIENT)
@EVERYTHING
def test_cost_is_what_a_random_network_counts(architecture, image_size, num_classes):
    check_random(architecture, image_size, num_classes)


@pytest.mark.slow
@settings(max_examples=500, **PATIENT)
@EVERYTHING
def test_cost_is_what_five_hundred_random_networks_count(architecture, image_size, num_classes):
    check_random(architecture, image_size, num_classes)


# arXiv:2111.11418, table 1: millions of parameters without LayerScale, G MACs as fvcore counts them
POOLFORMER_TABLE = {"s12": (11.9, 1.8), "s24": (21.4, 3.4), "s36": (30.8, 5.0), "m36": (56.1, 8.8), "m48": (73.4, 11.6)}


@pytest.mark.parametrize("size", POOLFORMER_TABLE)
def test_poolformers_have_the_digits_of_their_table(size):
    architecture = design(f"poolformer_{size}")
    found = cost(architecture, image_size=224, num_classes=1000)
    layer_scale = sum(2 * s.depth * s.width for s in architecture.stages)
    positions = [56**2, 28**2, 14**2, 7**2]
    norms = sum(2 * s.depth * s.width * n for s, n in zip(architecture.stages, positions, strict=True))
    norms += architecture.stages[-1].width * positions[-1]  # the last norm, which fvcore counts with the others
    digits = round((found.params - layer_scale) / 1e6, 1), round((found.macs + 5 * norms) / 1e9, 1)
    assert digits == POOLFORMER_TABLE[size]


# arXiv:2111.11418, table 5: millions of parameters that are trained, G MACs
ABLATION_TABLE = {
    "baseline": (11.9, 1.8),
    "identity": (11.9, 1.8),
    "random": (11.9, 3.3),
    "dwconv": (11.9, 1.8),
    "pool_size_5": (11.9, 1.8),
    "pool_size_7": (11.9, 1.8),
    "pool_size_9": (11.9, 1.8),
    "norm_layer": (11.9, 1.8),
    "norm_batch": (11.9, 1.8),
    "norm_none": (11.9, 1.8),
    "activation_relu": (11.9, 1.8),
    "activation_silu": (11.9, 1.8),
    "no_residual": (11.9, 1.8),
    "no_mlp": (2.5, 0.2),
    "pppa": (14.0, 1.9),
    "ppaa": (16.5, 2.5),
    "pppf": (11.9, 1.8),
    "ppff": (12.2, 1.9),
}


@pytest.mark.parametrize("row", ABLATION_TABLE)
def test_ablations_have_the_digits_of_their_table(row):
    found = cost(design(f"ablation_{row}"), image_size=224, num_classes=1000)
    assert (round(found.params / 1e6, 1), round(found.macs / 1e9, 1)) == ABLATION_TABLE[row]


def test_the_global_random_matrices_add_twenty_one_million_frozen_parameters():
    found = cost(design("ablation_random"), image_size=224, num_classes=1000)
    assert found.frozen_params == 2 * 3136**2 + 2 * 784**2 + 6 * 196**2 + 2 * 49**2 == 21_133_602


# arXiv:2210.13452, tables 3 and 4: millions of parameters, G MACs
BASELINE_TABLE = {
    "identityformer_s12": (11.9, 1.8),
    "identityformer_m48": (73.3, 11.5),
    "randformer_s12": (11.9, 1.9),
    "randformer_m48": (73.3, 11.9),
    "poolformerv2_s36": (30.8, 5.0),
    "convformer_s18": (27, 3.9),
    "convformer_s36": (40, 7.6),
    "convformer_m36": (57, 12.8),
    "convformer_b36": (100, 22.6),
    "caformer_s18": (26, 4.1),
    "caformer_s36": (39, 8.0),
    "caformer_m36": (56, 13.2),
    "caformer_b36": (99, 23.2),
}


@pytest.mark.parametrize("name", BASELINE_TABLE)
def test_the_baselines_have_the_digits_of_their_tables(name):
    params, macs = BASELINE_TABLE[name]
    found = cost(design(name), image_size=224, num_classes=1000)
    assert round(found.params / 1e6, 1 if isinstance(params, float) else None) == params
    assert round(found.macs / 1e9, 1) == macs


def test_riformer_s12_loses_its_affine_parameters_when_it_is_merged():
    params = [cost(design(name), image_size=224, num_classes=1000).params for name in ("riformer_s12_train", "riformer_s12")]
    assert params == [11_921_832, 11_915_176]


def test_one_attention_block_costs_what_it_costs_by_hand():
    stage = Stage(mixer="attention", depth=1, width=64, mlp_ratio=0)
    found = cost(Architecture(stages=(stage,), stem_norm=False), image_size=32, num_classes=10)
    c, n = 64, 8 * 8
    assert found.macs == 147 * c * n + 4 * c * c * n + 2 * n * n * c + 10 * c
    assert found.params == (147 * c + c) + c + 4 * c * c + 2 * c + (10 * c + 10)


def by_hand(**stage):
    """What one 64 px stage of 32 channels behind a stem without a norm costs beyond stem and head; 16 x 16 positions."""
    shape = {"mixer": "identity", "depth": 1, "width": 32, "norm": "none", "activation": "gelu"}
    architecture = Architecture(stages=(Stage(**{**shape, **stage}),), stem_norm=False)
    found = cost(architecture, image_size=64, num_classes=10)
    return found.params - (147 * 32 + 32) - 2 * 32 - (10 * 32 + 10), found.macs - 147 * 32 * 256 - 10 * 32


def test_an_mlp_with_a_convolution_costs_its_filters_by_hand():
    weights = 2 * 32 * 128 + 9 * 128
    assert by_hand(mlp="conv", mlp_bias=True) == (weights + 2 * 128 + 32, weights * 256)


def test_squeeze_and_excitation_costs_two_maps_of_one_position_by_hand():
    weights = 2 * 32 * 8
    assert by_hand(mlp_ratio=0, se_ratio=0.25) == (weights + 8 + 32, weights)


def test_linear_attention_costs_two_products_of_heads_by_hand():
    """Each of the two products takes head_dim + 1 numbers a channel and position: the sum's divisor is one of them."""
    assert by_hand(mixer="linear_attention", head_dim=16, mlp_ratio=0) == (4 * 32**2, 4 * 32**2 * 256 + 2 * 256 * 32 * 17)


def test_linear_attention_on_four_times_the_positions_costs_four_times_as_much():
    stage = Stage(mixer="linear_attention", depth=1, width=32)
    small, large = (row_of(stage).cost(stage, n).macs for n in (256, 1024))
    assert large == 4 * small


def test_a_stem_of_two_steps_costs_both_by_hand():
    one, two = (
        cost(Architecture(stages=(Stage(mixer="identity", depth=1, width=32),), stem_steps=n), image_size=64, num_classes=10)
        for n in (1, 2)
    )
    assert two.params - one.params == (27 * 16 + 16 + 16) + (9 * 16 * 32 + 32 + 32) - (147 * 32 + 32 + 32)
    assert two.macs - one.macs == 27 * 16 * 32**2 + 9 * 16 * 32 * 16**2 - 147 * 32 * 16**2


@pytest.mark.parametrize("stride, sides", [(1, [65, 65]), (2, [33, 33]), (4, [33, 17])])
def test_a_stem_of_two_steps_rounds_up_at_each(stride, sides):
    architecture = Architecture(stages=[Stage(mixer="identity", depth=1, width=8)], stem_steps=2, stem_stride=stride)
    assert stem_sides(architecture, 65) == sides and feature_sides(architecture, image_size=65) == sides[1:]


class Liveness(TorchDispatchMode):
    """Which storages each operator touches, `weights` aside; `peak_bytes` frees each one after its last use."""

    def __init__(self, weights):
        super().__init__()
        self.touched, self.made, self.weights = [], {}, {s._cdata for s in _storages(weights)}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        storages = [s for s in _storages((args, kwargs, out)) if s._cdata not in self.weights]
        for storage in storages:
            self.made.setdefault(storage._cdata, storage)  # held, so that no address comes twice
        self.touched.append([s._cdata for s in storages])
        return out

    def peak_bytes(self):
        first, last = {}, {}
        for i, keys in enumerate(self.touched):
            for key in keys:
                first.setdefault(key, i)
                last[key] = i
        spans = [(first[k], last[k], self.made[k].nbytes()) for k in first]
        return max(sum(size for a, b, size in spans if a <= i <= b) for i in range(len(self.touched)))


def _storages(tree):
    leaves = torch.utils._pytree.tree_leaves(tree)
    return [leaf.untyped_storage() for leaf in leaves if isinstance(leaf, torch.Tensor)]


def measured_bytes(architecture, *, image_size):
    """Peak of live bytes in one forward pass, the image included, the weights not."""
    model = build(architecture, image_size=image_size, num_classes=10).eval()
    image = torch.rand(1, 3, image_size, image_size)
    with torch.no_grad(), Liveness([*model.state_dict().values()]) as liveness:
        model(image)
    return liveness.peak_bytes()


SEEN = ["poolformer_s12", "randformer_s12", "riformer_s12_train", "convformer_s18", "caformer_s18", "ablation_ppff"]


@pytest.mark.parametrize("name", [*SEEN, "ablation_dwconv", "ablation_no_mlp", "ablation_norm_layer", "ablation_ppaa"])
def test_activation_bytes_are_the_measured_peak_of_a_design(name):
    found = cost(design(name), image_size=128, num_classes=10).activation_bytes
    assert found == pytest.approx(measured_bytes(design(name), image_size=128), rel=0.02)


@settings(max_examples=40, derandomize=True, **PATIENT)
@given(architectures(max_stages=2), st.integers(16, 32))
def test_activation_bytes_are_near_the_measured_peak_of_a_narrow_random_network(architecture, image_size):
    """A layer norm also returns two statistics a position, up to 2 / (2 * 16) of what 16 channels take. Where there is no
    norm, the branch reads the very map that waits beside it: the cost counts it twice, and is a bound."""
    found = cost(architecture, image_size=image_size, num_classes=10).activation_bytes
    measured = measured_bytes(architecture, image_size=image_size)
    if any(stage.norm == "none" for stage in architecture.stages):
        assert 0.92 * measured <= found <= 2 * measured
    else:
        assert found == pytest.approx(measured, rel=0.08)


@pytest.mark.parametrize(
    "image_size, stem_stride, sides",
    [(224, 4, [56, 28, 14, 7]), (160, 4, [40, 20, 10, 5]), (224, 2, [112, 56, 28, 14]), (100, 4, [25, 13, 7, 4])],
)
def test_feature_sides_halve_and_round_up(image_size, stem_stride, sides):
    architecture = Architecture(stages=[Stage(mixer="identity", depth=1, width=8)] * 4, stem_stride=stem_stride)
    assert feature_sides(architecture, image_size=image_size) == sides


def test_an_image_too_small_for_its_stages_is_refused_with_the_least_size():
    with pytest.raises(Infeasible, match=r"at least 19 px") as refusal:
        cost(design("poolformer_s12"), image_size=16, num_classes=10)
    assert "16 px is too small for 4 stages" in str(refusal.value)
    two_steps = design("poolformer_s12").model_copy(update={"stem_steps": 2})
    with pytest.raises(Infeasible, match=r"at least 17 px"):
        cost(two_steps, image_size=16, num_classes=10)
    assert feature_sides(two_steps, image_size=17) == [5, 3, 2, 1]
    assert feature_sides(design("poolformer_s12"), image_size=19) == [5, 3, 2, 1]
