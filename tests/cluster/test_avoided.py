"""Nodes on which a trial isn't tried again, and those that are left out."""

import pytest

from nas.cluster.avoided import NODE, Avoided, selector
from nas.cluster.quiet import ray


@pytest.fixture(autouse=True)
def three(monkeypatch):
    """Three nodes, of which one goes when it is taken out of the dictionary."""
    there = {"a": "gpu1", "b": "gpu2", "c": "gpu3"}
    nodes = lambda: [  # noqa: E731
        {"NodeID": i, "NodeManagerHostname": host, "Alive": True, "Resources": {"CPU": 1.0}} for i, host in there.items()
    ]
    monkeypatch.setattr(ray, "nodes", nodes)
    return there


def test_a_trial_that_was_lost_is_tried_on_another_node():
    assert Avoided().for_trial(["gpu2"]) == ("b",)
    assert Avoided().for_trial() == ()


def test_a_trial_that_was_lost_everywhere_is_tried_anywhere_but_where_nothing_can_train():
    assert Avoided({"c"}).for_trial(["gpu1", "gpu2"]) == ("c",)


def test_a_node_is_left_out_after_three_trials_in_a_row(three):
    avoided = Avoided()
    assert [avoided.note_loss("gpu2", number) for number in (5, 5, 6)] == [False, False, False]  # one trial counts once
    assert avoided.note_loss("gpu2", 7)
    assert avoided.for_trial() == ("b",)


def test_an_end_in_between_is_a_new_beginning():
    avoided = Avoided()
    for number in range(10):
        assert not avoided.note_loss("gpu2", number)
        if number % 2:
            avoided.note_end("gpu2")


def test_the_last_node_is_never_left_out(three):
    avoided = Avoided({"a", "c"})
    assert not any(avoided.note_loss("gpu2", number) for number in range(9))
    assert avoided.for_trial() == ("a", "c")


def test_a_node_that_went_by_itself_is_not_called_left_out(three):
    avoided = Avoided()
    del three["b"]
    assert not any(avoided.note_loss("gpu2", number) for number in range(9))


def test_ray_is_told_where_not_to_place():
    assert selector(("a", "b")) == {NODE: "!in(a,b)"} and selector(()) == {}
