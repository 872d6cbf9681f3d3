"""What the nodes of a cluster do before the first trial, as it is told."""

import json

import pytest

from nas.cluster import nodes, room
from nas.cluster.nodes import check_versions, other_versions, shares_in_words
from nas.errors import NasError


def test_each_node_s_share_is_shown_and_how_long_the_slowest_will_take():
    progress = {"gpu2": (250, 1000), "gpu1": (500, 1000)}
    assert shares_in_words(progress, seconds=60) == "gpu1 50% · gpu2 25% · ETA 3 min"


def test_nothing_is_said_of_nodes_that_have_nothing_to_do():
    assert shares_in_words({}, seconds=60) == ""
    assert shares_in_words({"gpu1": (0, 1000)}, seconds=60) == "gpu1 0%"


HERE = {"Python": "3.11", "torch": "2.9.0", "timm": "1.0.31"}


def test_other_versions_are_named_with_both_and_their_host():
    there = {"gpu2": {**HERE, "torch": "2.6.0"}, "gpu1": HERE}
    assert other_versions(HERE, there) == ["gpu2 has torch 2.6.0, and here is 2.9.0"]
    assert other_versions(HERE, {"gpu1": HERE}) == []


def test_a_node_of_other_versions_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(nodes, "alive_nodes", lambda: [{"NodeManagerHostname": "gpu7", "NodeID": "7"}])
    monkeypatch.setattr(nodes, "_on", lambda node, work: work())
    monkeypatch.setattr(nodes.ray, "get", lambda answers, timeout: answers)
    check_versions()
    monkeypatch.setattr(nodes, "_on", lambda node, work: {**work(), "timm": "0.6.11"})
    with pytest.raises(NasError, match=r"must have the versions of this machine.* but gpu7 has timm 0\.6\.11, and here is"):
        check_versions()


NUMBER = "a36d62"


@pytest.mark.parametrize(
    ("v2", "kinds", "there"),
    [
        (False, {NUMBER: f"node_{NUMBER}"}, False),
        (False, {NUMBER: "ray.head.default"}, True),
        (False, None, False),
        (True, None, True),
    ],
)
def test_an_autoscaler_is_known_by_its_version_or_by_its_names_for_kinds_of_nodes(monkeypatch, v2, kinds, there):
    monkeypatch.setattr("ray.autoscaler.v2.utils.is_autoscaler_v2", lambda fetch_from_server: v2)
    status = json.dumps({"autoscaler_report": {"node_type_mapping": kinds}}).encode()
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_get", lambda key: status)
    assert room.has_autoscaler() is there
    monkeypatch.setattr("ray.experimental.internal_kv._internal_kv_get", lambda key: None)
    assert room.has_autoscaler() is v2
