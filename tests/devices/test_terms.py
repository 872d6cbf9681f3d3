"""What a network's time is a sum of, against the closed form of its costs."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.devices.terms import Term, Terms, counted_parts, terms_of
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture
from nas.space.cost import cost
from nas.space.mixers import MIXERS
from nas.space.reference import design

SPACE = read_search("hybrid").space


def terms(architecture, image_size=224):
    total = Terms()
    for part, number in counted_parts(architecture, image_size=image_size, num_classes=1000):
        for term, amount in terms_of(part).items():
            total[term] += number * amount
    return total


@given(st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_the_macs_of_all_operators_are_those_of_the_network(seed):
    architecture = random_architecture(SPACE, random.Random(seed))
    own = terms(architecture)
    assert own[Term(1, "macs")] == cost(architecture, image_size=224, num_classes=1000).macs
    for quantity in ("macs", "elements", "weights", "calls"):
        kinds = sum(amount for term, amount in own.items() if term.level == 2 and term.quantity == quantity)
        assert own[Term(1, quantity)] == pytest.approx(kinds)


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_the_macs_of_further_blocks_are_those_of_the_network_too(seed):
    architecture = random_architecture(read_search("blocks").space, random.Random(seed))
    assert terms(architecture)[Term(1, "macs")] == cost(architecture, image_size=224, num_classes=1000).macs


def test_further_blocks_are_kinds_of_operators():
    stage = {"mixer": "attention", "depth": 2, "width": 32, "mlp": "conv", "se_ratio": 0.25}
    own = terms(Architecture(stages=(stage,), stem_steps=2))
    assert own[Term(2, "calls", "inverted residual")] == 6 and own[Term(2, "calls", "squeeze-and-excitation")] == 10
    assert own[Term(2, "calls", "LayerNorm2d")] == 7 and not own[Term(2, "calls", "LayerNorm")]  # 2 in the stem, 1 in the head


def test_blocks_count_as_often_as_they_stand():
    twice, once = (
        terms(Architecture(stages=({"mixer": "pool", "depth": depth, "width": 32},)))[Term(2, "calls", "pool")]
        for depth in (2, 1)
    )
    assert (twice, once) == (2, 1)


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_is_a_kind_of_operator_with_its_options(mixer):
    own = terms(Architecture(stages=({"mixer": mixer, "depth": 1, "width": 32},)), image_size=32)
    assert own[Term(2, "calls", mixer)] == 1
    options = {term.of for term in own if term.level == 3}
    assert options == {f"{mixer} with {name} {value}" for name, value in MIXERS[mixer].options.items()}


def test_norms_of_tokens_and_of_maps_are_different_kinds():
    own = terms(design("caformer_s18"))
    assert own[Term(2, "calls", "LayerNorm")] and own[Term(2, "calls", "LayerNorm2d")]
