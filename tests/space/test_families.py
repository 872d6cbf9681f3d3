"""Families scaled to a cost: published sizes as fixed points, the authors' proportions kept, one message for what can't be."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import ConfigError
from nas.space.cost import cost
from nas.space.families import SLACK, Scaled, designed, named, scaled_to, short
from nas.space.reference import FAMILIES, design
from nas.units import quantity


def at_imagenet(architecture):
    return cost(architecture, image_size=224, num_classes=1000)


def at_64_px(architecture):
    return cost(architecture, image_size=64, num_classes=50)


PUBLISHED = [(family, size) for family, row in FAMILIES.items() for size in row.sizes]


@pytest.mark.parametrize(("family", "size"), PUBLISHED)
@pytest.mark.parametrize("by", ["macs", "params"])
def test_scaling_to_a_published_size_s_cost_gives_that_size(family, size, by):
    published = design(f"{family}_{size}")
    member = Scaled(family, getattr(at_imagenet(published), by), by)
    assert scaled_to(member, at_imagenet) == published


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(FAMILIES)), st.floats(math.log(0.08e9), math.log(8e9)))
def test_a_member_costs_about_what_was_asked_for_in_the_authors_proportions(family, log_macs):
    member = scaled_to(Scaled(family, round(math.exp(log_macs))), at_imagenet)
    assert abs(math.log(at_imagenet(member).macs) - log_macs) < SLACK
    smallest = design(f"{family}_{next(iter(FAMILIES[family].sizes))}")
    depths, widths = zip(*((stage.depth, stage.width) for stage in member.stages), strict=True)
    if at_imagenet(member).macs < at_imagenet(smallest).macs:
        assert (depths[0], depths[1], depths[2]) == (depths[3], depths[3], 3 * depths[3])  # 1:1:3:1
    assert all(a <= b for a, b in pairwise(widths))
    assert all(stage.head_dim in (None, 32) for stage in member.stages)
    assert [stage.mixer for stage in member.stages] == [stage.mixer for stage in smallest.stages]


def test_half_of_s12_in_depth_and_width_is_a_member():
    half = FAMILIES["poolformerv2"].make((1, 1, 3, 1), (32, 64, 160, 256))
    assert scaled_to(Scaled("poolformerv2", at_imagenet(half).macs), at_imagenet) == half


def test_dearer_members_are_never_smaller():
    wanted = [Scaled("caformer", macs) for macs in range(7_500_000, 20_000_000, 500_000)]
    macs = [at_64_px(scaled_to(member, at_64_px, stem_strides=(2,))).macs for member in wanted]
    assert all(a <= 1.05 * b for a, b in pairwise(macs))


@given(st.integers(1, 10**13))
def test_an_amount_is_written_exactly_and_read_back(amount):
    assert quantity(short(amount)) in (amount, short(amount))
    assert int(quantity(short(amount))) == amount


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("caformer@0.6G", Scaled("caformer", 600_000_000)),
        ("caformer@600M", Scaled("caformer", 600_000_000)),
        ("poolformerv2@3M-params", Scaled("poolformerv2", 3_000_000, "params")),
        ("caformer_s18", None),
    ],
)
def test_a_name_says_family_and_cost(name, member):
    assert named(name) == member
    assert member is None or named(member.name) == member


def test_names_are_short():
    assert Scaled("caformer", 600_000_000).name == "caformer@0.6G"
    assert Scaled("caformer", 5_000_000, "params").name == "caformer@5M-params"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("caformer@", "must be named as in caformer@0.6G"),
        ("caformer@0", "must be named as in"),
        ("caformer@1e9", "must be named as in"),
        ("caformer@-1G", "must be named as in"),
        ("vit@1G", "vit"),
        ("coformer@1G", "caformer"),
        ("caformer@1G-mac", "macs"),
        ("caformer@1k", "reaches from"),
        ("caformer@900T", "reaches from"),
        ("caformer@1G-frozen_params", "reaches from"),
    ],
)
def test_what_is_no_member_is_refused_with_the_way_out(name, said):
    with pytest.raises(ConfigError, match=said):
        designed(name, at_imagenet)


def test_a_member_takes_a_stem_that_the_space_allows():
    assert designed("caformer@9M", at_64_px, stem_strides=(2,)).stem_stride == 2
    assert designed("caformer@9M", at_64_px, stem_strides=(2, 4)).stem_stride == 4
