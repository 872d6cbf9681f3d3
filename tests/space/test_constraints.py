import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.config.values import validated
from nas.errors import ConfigError, Infeasible
from nas.space.constraints import Constraints, Limits, check_reachable, extreme, random_architecture, repair
from nas.space.search_space import SearchSpace

SPACE = SearchSpace.model_validate(
    {
        "image_size": 32,
        "num_classes": 10,
        "stages": {
            1: {"mixer": ["pool", "conv"], "depth": {"low": 1, "high": 4}, "width": [16, 32, 64]},
            2: {"mixer": ["pool", "conv", "attention"], "depth": {"low": 1, "high": 4}, "width": [32, 64, 128]},
        },
    }
)


def limits(**given) -> Constraints:
    return validated(Constraints, given, where="s.yaml")


def test_both_ends_of_a_limit_are_allowed():
    cost = SPACE.cost(random_architecture(SPACE, random.Random(0)))
    assert limits(macs={"min": cost.macs, "max": cost.macs}).allow(cost)
    assert limits(macs={"max": cost.macs - 1}).excess(cost).keys() == {"macs"}
    assert limits(params={"min": cost.params + 1}).excess(cost).keys() == {"params"}


def test_a_bare_number_is_the_largest_value():
    assert limits(params="20M") == limits(params={"max": 20_000_000})


@given(seed=st.integers(0, 10**6), top=st.integers(500, 4000))
@settings(max_examples=50)
def test_what_is_repaired_is_affordable_and_of_the_space(seed, top):
    wanted = limits(macs={"min": top * 800, "max": top * 1000})
    rng = random.Random(seed)
    mended = repair(random_architecture(SPACE, rng), SPACE, wanted, rng=rng)
    assert mended is None or (wanted.allow(SPACE.cost(mended)) and SPACE.contains(mended))


def test_what_is_affordable_is_left_as_it_is():
    here = random_architecture(SPACE, random.Random(3))
    assert repair(here, SPACE, limits(), rng=random.Random(0)) == here


def test_the_extremes_bound_what_is_drawn():
    rng = random.Random(1)
    drawn = [SPACE.cost(random_architecture(SPACE, rng)).macs for _ in range(500)]
    assert extreme(SPACE, "macs", sign=1) <= min(drawn) <= max(drawn) <= extreme(SPACE, "macs", sign=-1)


def test_limits_that_nothing_meets_are_refused_with_what_can_be_reached():
    smallest = extreme(SPACE, "macs", sign=1)
    with pytest.raises(Infeasible, match=rf"constraints\.macs asks for max 1,000; the space reaches {smallest:,} to"):
        check_reachable(SPACE, limits(macs="1k"))


def test_limits_in_a_narrow_band_are_found_reachable():
    check_reachable(SPACE, limits(macs={"min": "1.0M", "max": "1.1M"}))


def test_a_smallest_value_above_the_largest_is_refused():
    with pytest.raises(ConfigError, match=r"s\.yaml: macs: min must not be above max"):
        limits(macs={"min": "2G", "max": "1G"})


@pytest.mark.parametrize(
    ("limit", "value", "is_allowed"), [(0, 0, True), (0, 1, False), (1, 1, True), (1, 2, False), (0, 10**9, False)]
)
def test_a_limit_of_nothing_allows_nothing(limit, value, is_allowed):
    assert (Limits(max=limit).excess(value) == 0) == is_allowed
