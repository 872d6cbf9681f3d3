"""Which networks are measured."""

import random

import numpy as np

from nas.devices.device_file import check_covers
from nas.devices.sampling import informative
from nas.run.settings.search import read_search
from nas.space.constraints import random_architecture
from nas.space.search_space import SearchSpace
from tests.device_files import device_file

SPACE = read_search("tiny").space


def test_they_are_different_networks_of_the_space_and_follow_from_the_seed():
    chosen = informative(SPACE, 30, seed=0)
    assert len(set(chosen)) == 30 and all(SPACE.contains(a) for a in chosen)
    assert chosen == informative(SPACE, 30, seed=0) != informative(SPACE, 30, seed=1)


def test_those_asked_for_come_first():
    first = [random_architecture(SPACE, random.Random(5))]
    assert informative(SPACE, 10, seed=0, first=first)[0] == first[0]


def test_a_space_of_few_networks_gives_all_of_them():
    stages = {1: {"mixer": "pool", "depth": [1, 2], "width": 8}}
    small = SearchSpace(image_size=32, num_classes=10, stages=stages)
    assert len(informative(small, 30, seed=0)) == 2


def test_few_of_them_have_every_option():
    chosen = informative(SPACE, 12, seed=0)
    check_covers(device_file(SPACE, architectures=chosen), SPACE, where="laptop")


def test_they_leave_less_to_be_foretold_than_random_ones():
    rng = random.Random(7)
    errors = {}
    for kind, chosen in {
        "chosen": informative(SPACE, 12, seed=0),
        "random": [random_architecture(SPACE, rng) for _ in range(12)],
    }.items():
        file = device_file(SPACE, architectures=chosen)
        drawn = [random_architecture(SPACE, rng) for _ in range(60)]
        errors[kind] = np.mean([(e.high - e.low) / e.value for e in map(file.estimate, drawn)])
    assert errors["chosen"] < errors["random"]
