"""Settings by size: exact at the papers' sizes, on a line between them, level beyond them."""

import pytest

from nas.config.values import validated
from nas.errors import ConfigError
from nas.recipes.by_size import SIZES, at_size, place, settled, shapes, weight_of_blocks
from nas.recipes.recipe import Proxy
from nas.space.architecture import Architecture, Stage
from nas.space.reference import design

RATES = {"s18": 0.1, "b36": 0.5}


def network(*widths, depth=1):
    return Architecture(stages=tuple(Stage(mixer="pool", depth=depth, width=width) for width in widths))


def test_the_weight_is_depth_times_width_squared():
    assert weight_of_blocks((3, 3, 9, 3), (64, 128, 320, 512)) == 3 * 64**2 + 3 * 128**2 + 9 * 320**2 + 3 * 512**2 == 1769472


def test_a_name_that_two_families_share_means_the_designs_of_both():
    assert [depths for depths, _ in shapes("s36")] == [(6, 6, 18, 6), (3, 12, 18, 3)]
    rates = {"s12": 0.1, "s36": 0.2, "m36": 0.3}
    names = ("poolformer_s36", "convformer_s36", "poolformer_m36", "caformer_m36")
    assert [at_size(rates, design(name)) for name in names] == [0.2, 0.2, 0.3, 0.3]


def test_between_two_sizes_the_value_lies_on_a_line():
    s18, b36 = (weight_of_blocks(*next(shapes(size))) for size in RATES)
    half = network(1, depth=(s18 + b36) // 2)
    assert at_size(RATES, half) == 0.3
    assert place(RATES, half) == "between s18 and b36"


def test_beyond_the_sizes_the_value_is_level():
    tiny, huge = network(8), network(4096)
    assert (at_size(RATES, tiny), at_size(RATES, huge)) == (0.1, 0.5)
    assert (place(RATES, tiny), place(RATES, huge)) == ("as s18, the smallest", "as b36, the largest")


def test_between_the_two_shapes_of_a_size_a_network_stands_as_that_size():
    assert place(["s18", "s36", "m36"], network(1, depth=3_000_000)) == "as s36"


@pytest.mark.parametrize("size", SIZES)
def test_every_size_is_that_of_its_designs(size):
    family = "caformer" if size in ("s18", "b36") else "poolformer"
    assert place(SIZES, design(f"{family}_{size}")) == f"as {size}"


def test_one_value_is_every_networks():
    assert at_size(0.4, network(8)) == settled(0.4) == 0.4


def test_a_proxy_has_one_value_for_all_networks():
    for name in ("drop_path", "head_dropout"):
        with pytest.raises(ConfigError, match=name):
            validated(Proxy, {name: RATES}, where="search.yaml")
