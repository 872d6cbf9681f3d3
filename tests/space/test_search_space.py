import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.config.values import validated
from nas.errors import ConfigError
from nas.space.constraints import random_architecture
from nas.space.reference import design
from nas.space.search_space import SearchSpace

STAGE = {"mixer": ["pool", "conv", "attention"], "depth": {"low": 1, "high": 3}, "width": [32, 64]}
SPACE = {
    "image_size": 64,
    "num_classes": 10,
    "head": ["linear", "mlp"],
    "all_stages": {"norm": ["layer", "none"], "norm_bias": [False, True], "mlp_ratio": [0, 2], "activation": ["relu", "gelu"]},
    "stages": {1: STAGE, 2: {**STAGE, "kernel_size": [3, 5], "head_dim": [16, 32]}},
}


def space(**changes) -> SearchSpace:
    return validated(SearchSpace, {**SPACE, **changes}, where="s.yaml")


def refusal(**changes) -> str:
    with pytest.raises(ConfigError) as caught:
        space(**changes)
    return str(caught.value)


def stage(**changes) -> dict:
    return {"stages": {1: {**STAGE, **changes}}}


def test_the_size_counts_different_architectures_only():
    # a stage of one width and depth: pool (1) and conv with two kernels (2), each with no MLP or an MLP of two activations,
    # where conv keeps its activation without an MLP: pool 1 + 2, conv 2 * (2 + 2)
    small = validated(
        SearchSpace,
        {
            "stages": {
                1: {
                    "mixer": ["pool", "conv"],
                    "kernel_size": [3, 5],
                    "depth": 1,
                    "width": 8,
                    "mlp_ratio": [0, 2],
                    "activation": ["relu", "gelu"],
                }
            }
        },
        where="s",
    )
    assert small.size == 3 + 8


def test_the_size_equals_the_number_of_keys_that_can_be_drawn():
    small = validated(
        SearchSpace, {"image_size": 32, "stages": {1: SPACE["stages"][2]}, "all_stages": SPACE["all_stages"]}, where="s"
    )
    rng = random.Random(0)
    assert len({random_architecture(small, rng).key for _ in range(20_000)}) == small.size


FURTHER = {
    "image_size": 32,
    "stem_steps": [2, 1],
    "stem_kernel": [4, 7],
    "stages": {
        1: {
            "mixer": ["pool", "linear_attention"],
            "head_dim": [8, 16],
            "depth": 1,
            "width": 32,
            "mlp_ratio": [0, 2],
            "mlp": ["plain", "conv"],
            "se_ratio": [0, 0.25],
        }
    },
}


def test_the_further_blocks_are_counted_drawn_and_found_again():
    further = validated(SearchSpace, FURTHER, where="s")
    # three stems, of which that of two steps has no kernel; pool or two heads; no MLP or two kinds; with SE or without
    assert further.size == 3 * 3 * 3 * 2
    rng = random.Random(0)
    drawn = [random_architecture(further, rng) for _ in range(2000)]
    assert len({architecture.key for architecture in drawn}) == further.size
    for architecture in drawn[:50]:
        chosen = further.choices(architecture)
        assert further.contains(architecture) and further.draw(lambda name, _, chosen=chosen: chosen[name]) == architecture
        assert ("stem_kernel" in chosen) == (architecture.stem_steps == 1)
        assert all(further.contains(neighbour) for neighbour in further.neighbours(architecture))


def test_a_kernel_is_not_asked_for_where_the_stem_has_two_steps():
    asked = []
    validated(SearchSpace, FURTHER, where="s").draw(lambda name, options: asked.append(name) or options[0])
    assert "stem_steps" in asked and "stem_kernel" not in asked and "stage1.mlp" not in asked


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_what_is_drawn_is_contained_and_its_choices_lead_back_to_it(seed):
    drawn = random_architecture(space(), random.Random(seed))
    chosen = space().choices(drawn)
    assert space().contains(drawn)
    assert space().draw(lambda name, options: chosen[name]) == drawn


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_neighbours_are_other_architectures_of_the_space(seed):
    here = random_architecture(space(), random.Random(seed))
    around = list(space().neighbours(here))
    assert around
    assert all(space().contains(n) and n != here for n in around)


def test_what_is_nearest_to_an_architecture_of_the_space_is_itself():
    here = random_architecture(space(), random.Random(5))
    assert space().nearest(here) == here


def test_what_is_nearest_to_a_foreign_design_takes_the_closest_numbers_and_the_same_names():
    near = space().nearest(design("caformer_s18"))  # mixers conv, conv; widths 64, 128; depths 3, 3; an MLP head
    assert [(s.mixer, s.width, s.depth, s.mlp_ratio) for s in near.stages] == [("conv", 64, 3, 2.0), ("conv", 64, 3, 2.0)]
    assert near.head == "mlp"


def test_only_open_and_active_choices_are_asked_for():
    asked = []
    space().draw(lambda name, options: asked.append(name) or options[0])  # pool everywhere
    assert "stage2.kernel_size" not in asked
    assert "stage1.mixer" in asked


def test_an_architecture_from_elsewhere_is_not_contained():
    other = random_architecture(space(), random.Random(0))
    assert not space(head="linear", **stage(width=128)).contains(other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (stage(depth=0), "stages.1.depth: must be greater than or equal to 1, but got 0"),
        (stage(depth=-2), "stages.1.depth: must be greater than or equal to 1, but got -2"),
        (stage(width=[]), "stages.1.width: must hold at least one choice"),
        (stage(width=[32, 32]), "stages.1.width: holds the choice 32 twice"),
        (stage(width=[32, 50]), "stages.1.width: width must be a multiple of head_dim=32 for attention, but got 50"),
        (stage(mixer="atention"), "stages.1.mixer: unknown mixer 'atention'; did you mean attention"),
        (stage(norm="lawyer"), "stages.1.norm: unknown norm 'lawyer'; did you mean layer"),
        (stage(activation="gelo"), "stages.1.activation: unknown activation 'gelo'; did you mean gelu"),
        (stage(depth="two"), "stages.1.depth: must be a whole number"),
        (stage(depth={"low": 1, "high": 4, "step": 2}), "stages.1.depth: a range must go from low up to high in whole steps"),
        (stage(depth={"low": 1}), "stages.1.depth: a range must be {low: integer, high: integer, step: integer}"),
        (stage(widht=3), "stages.1: unknown key 'widht'; did you mean width"),
        (stage(mixer="conv", kernel_size=4), "stages.1.kernel_size: kernel_size must be odd"),
        ({"stages": {1: STAGE, 3: STAGE}}, "stages: must be numbered 1, 2, ... without a gap, but got 1, 3"),
        ({"stages": {1: {"mixer": "pool", "depth": 1}}}, "stages.1.width: is required here or in all_stages"),
        ({"stages": {}}, "stages: "),
        ({"stages": {"01": STAGE}}, "stages: must be numbered 1, 2, ..., but got the key '01'"),
        ({"stages": {True: STAGE}}, "stages: must be numbered 1, 2, ..., but got the key True"),
        (
            {"stem_kernel": [7, 3], "stem_stride": [2, 4]},
            "stem_kernel: must be at least stem_stride=4 so that no pixel is skipped",
        ),
        ({"stem_steps": [1, 2], "stem_stride": 3}, "stem_stride: must be 1, 2 or 4 with stem_steps=2, but got 3; leave one of"),
        ({"stem_steps": [1, 3]}, "stem_steps: must be less than or equal to 2, but got 3"),
        ({"stem_steps": []}, "stem_steps: must hold at least one choice"),
        (stage(mlp=["plain", "cnv"]), "stages.1.mlp: unknown mlp 'cnv'; did you mean conv?"),
        (stage(se_ratio=[0, 0.01]), "stages.1.se_ratio: se_ratio must leave at least one channel of width 32, but got 0.01"),
        (stage(se_ratio=[0, 4]), "stages.1.se_ratio: must be less than or equal to 1, but got 4"),
        (stage(mixer=["linear_attention"], width=[40]), "stages.1.width: width must be a multiple of head_dim=32 for linear_"),
        (
            {"image_size": 8, "stages": dict.fromkeys((1, 2, 3, 4), STAGE)},
            "image_size: an image of 8 px is too small for 4 stages",
        ),
    ],
)
def test_a_space_that_cannot_work_is_refused_when_it_is_read(changes, message):
    assert f"s.yaml: {message}" in refusal(**changes)
