"""Times in turns, of clocks whose answers are known."""

import itertools
import math
import random

import pytest

from nas.devices import rounds
from nas.devices.rounds import Budget, in_turns
from nas.errors import NasError


class Machine:
    """Clocks of networks on a machine whose speed drifts, with noise; it counts what was timed."""

    def __init__(self, seconds, *, drift=lambda turn: 1.0, noise=0.0):
        self.turn, self.random, self.drift, self.noise = 0, random.Random(0), drift, noise
        self.clocks = {name: lambda s=s: self.time(s) for name, s in seconds.items()}

    def time(self, seconds):
        self.turn += 1
        return seconds * self.drift(self.turn) * math.exp(self.noise * self.random.gauss(0, 1))


def test_a_steady_machine_is_measured_in_the_fewest_rounds():
    timed = in_turns(Machine({"a": 0.010, "b": 0.020}).clocks, Budget())
    assert (timed["a"].ms, timed["b"].ms) == (pytest.approx(10), pytest.approx(20))
    assert timed["a"].rounds == rounds.FEWEST_ROUNDS


def test_what_slows_all_networks_alike_is_taken_out():
    names = {f"n{i}": 0.01 * 1.1**i for i in range(20)}
    slow = Machine(names, drift=lambda turn: 1.0 if turn < 400 else 1.6, noise=0.01)
    timed = in_turns(slow.clocks, Budget(rounds=8))
    ratios = [timed[name].ms / (1000 * seconds) for name, seconds in names.items()]
    assert max(ratios) / min(ratios) < 1.05  # all by the same factor, whenever they were measured


def test_a_network_is_measured_until_its_interval_is_small():
    timed = in_turns(Machine({f"n{i}": 0.01 for i in range(8)}, noise=0.08).clocks, Budget(rounds=40))
    assert max(each.rounds for each in timed.values()) > rounds.FEWEST_ROUNDS
    for each in timed.values():
        assert each.rounds == 40 or (each.high - each.low) / (2 * each.ms) <= 2 * rounds.STEADY


def test_an_interruption_of_one_pass_changes_nothing():
    interrupted = itertools.cycle([0.01, 0.01, 0.5, 0.01, 0.01])
    assert in_turns({"a": lambda: next(interrupted)}, Budget())["a"].ms == pytest.approx(10)


def test_a_machine_too_noisy_to_measure_is_told_so_with_the_spread():
    with pytest.raises(
        NasError, match=r"too noisy to measure: after 5 rounds half of the 6 networks are not more certain than ±\d+%"
    ):
        in_turns(Machine({f"n{i}": 0.01 for i in range(6)}, noise=1.5).clocks, Budget(rounds=5))


def test_rounds_are_heard_of():
    heard = []
    in_turns(Machine({"a": 0.01}).clocks, Budget(), on_round=lambda done, left: heard.append((done, left)))
    assert heard[0] == (1, 1) and heard[-1] == (rounds.FEWEST_ROUNDS, 0)
