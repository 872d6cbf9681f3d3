"""Small maps: what computes the same there is one architecture, proved on built networks."""

import pytest
import torch

from nas.config.values import validated
from nas.models.metaformer import build
from nas.recipes.recipe import Proxy
from nas.recipes.seen import SeenSpace
from nas.space.maps import alike_options
from nas.space.mixers import MIXERS
from nas.space.search_space import SearchSpace


def space(*mixers, sizes=(3, 5, 7), **stage):
    written = {
        "mixer": list(mixers),
        "depth": [1, 2],
        "width": 8,
        "pool_size": list(sizes),
        "kernel_size": list(sizes),
        **stage,
    }
    data = {
        "image_size": 32,
        "num_classes": 4,
        "stem_kernel": 3,
        "stem_stride": 2,
        "stages": {1: written, 2: {**written, "width": 16}},
    }
    return validated(SearchSpace, data, where="test")


def seen(searched, image_size):
    return SeenSpace(searched, Proxy(image_size=image_size))


def drawn(searched, **chosen):
    return searched.draw(lambda name, options: chosen.get(name.partition(".")[2], options[0]))


def logits(architecture, image_size):
    torch.manual_seed(0)
    model = build(architecture, image_size=image_size, num_classes=4).eval()
    with torch.no_grad():
        return model(torch.randn(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("image_size", [4, 8, 12])
def test_pool_sizes_that_are_made_one_give_the_same_logits_and_others_do_not(image_size):
    searched = space("pool")
    own = seen(searched, image_size)
    for size in (5, 7):
        architecture = drawn(searched, pool_size=size)
        merged = own.simplest(architecture)
        same = [a.pool_size == b.pool_size for a, b in zip(architecture.stages, merged.stages, strict=True)]
        assert torch.allclose(logits(architecture, image_size), logits(merged, image_size), atol=1e-6)
        assert same != [True, True] or not torch.allclose(
            logits(architecture, image_size), logits(drawn(searched, pool_size=3), image_size), atol=1e-6
        )


def test_random_mixing_of_one_position_is_the_identity():
    searched = space("random", "identity")
    merged = seen(searched, 4).simplest(drawn(searched, mixer="random"))
    assert [stage.mixer for stage in merged.stages] == ["random", "identity"]  # maps of 2 and 1
    assert seen(space("random", "pool"), 4).simplest(drawn(searched, mixer="random")).stages[1].mixer == "random"


@pytest.mark.parametrize(
    ("side", "value", "alike"), [(1, 7, [3, 5, 7]), (2, 3, [3, 5, 7]), (3, 3, [3]), (3, 7, [5, 7]), (4, 7, [7]), (99, 5, [5])]
)
def test_a_window_that_reaches_everywhere_is_the_same_as_a_larger_one(side, value, alike):
    assert alike_options((7, 3, 5), "pool_size", MIXERS["pool"], side, value) == alike
    assert alike_options((7, 3, 5), "kernel_size", MIXERS["conv"], side, value) == alike


def test_heads_make_no_difference_on_one_position_only():
    assert alike_options((16, 32), "head_dim", MIXERS["attention"], 1, 32) == [16, 32]
    assert alike_options((16, 32), "head_dim", MIXERS["attention"], 2, 32) == []


def test_the_simplest_is_in_the_space_and_costs_no_more():
    searched = space("pool", "conv", "attention", "random", "identity", head_dim=8)
    own = seen(searched, 4)
    for mixer in ("pool", "conv", "attention", "random", "identity"):
        architecture = drawn(searched, mixer=mixer, kernel_size=7, pool_size=7)
        merged = own.simplest(architecture)
        assert searched.contains(merged) and own.simplest(merged) == merged
        assert all(a <= b for a, b in zip(searched.cost(merged), searched.cost(architecture), strict=True))


def test_choices_that_cannot_be_told_apart_are_named_and_small_maps_said_with_the_way_out():
    searched = space("pool", "conv")
    own = seen(searched, 4)
    assert own.sides == [2, 1]
    assert [own.is_told_apart(f"stage{n}.mixer") for n in (1, 2)] == [True, False]
    assert not own.is_told_apart("stage1.pool_size") and own.is_told_apart("stage1.depth")
    assert own.remarks[0].startswith("At 4 px stage 1 has maps of 2 x 2 and stage 2 has maps of 1 x 1: ")
    assert "proxy.image_size" in own.remarks[0] and "proxy.stem_stride" in own.remarks[0]
    assert own.remarks[1].startswith("Not asked on these maps, and so credited with no effect: stage1.pool_size, ")


def test_large_maps_need_no_remark_and_keep_every_architecture():
    searched = space("pool", "conv")
    own = seen(searched, 64)
    assert own.remarks == [] and all(own.is_told_apart(axis) for axis in searched.axes)
    architecture = drawn(searched, pool_size=7)
    assert own.simplest(architecture) == architecture


def test_the_proxys_own_stem_counts():
    assert SeenSpace(space("pool"), Proxy(image_size=16, stem_stride=1)).sides == [16, 8]


@pytest.mark.parametrize("name", ["hybrid", "pooling", "imagenet"])
def test_shipped_spaces_train_on_maps_where_every_choice_can_be_seen(name):
    from nas.run.settings.search import read_search

    search = read_search(name)
    assert min(search.seen.sides) > 2 and search.seen.remarks == []
    assert all(search.seen.is_told_apart(axis) for axis in search.space.axes)
