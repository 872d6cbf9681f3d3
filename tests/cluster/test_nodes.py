"""What the nodes of a cluster do before the first trial, as it is told."""

from nas.cluster.nodes import shares_in_words


def test_each_node_s_share_is_shown_and_how_long_the_slowest_will_take():
    progress = {"gpu2": (250, 1000), "gpu1": (500, 1000)}
    assert shares_in_words(progress, seconds=60) == "gpu1 50% · gpu2 25% · ETA 3 min"


def test_nothing_is_said_of_nodes_that_have_nothing_to_do():
    assert shares_in_words({}, seconds=60) == ""
    assert shares_in_words({"gpu1": (0, 1000)}, seconds=60) == "gpu1 0%"
