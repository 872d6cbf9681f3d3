from nas.search.rungs import MIN_PEERS, goes_on


def test_a_trial_without_enough_peers_goes_on():
    assert goes_on(100, 0.0, [(100, 0.9)] * (MIN_PEERS - 1))


def test_a_trial_behind_most_networks_that_cost_no_more_stops():
    assert not goes_on(100, 0.5, [(80, 0.6), (90, 0.7), (100, 0.8), (70, 0.4)])


def test_a_trial_in_the_better_half_goes_on():
    assert goes_on(100, 0.65, [(80, 0.6), (90, 0.7), (100, 0.8), (70, 0.4)])


def test_the_cheap_end_survives_beside_large_accurate_networks():
    assert goes_on(10, 0.3, [(100, 0.9)] * 20)


def test_a_little_more_macs_count_as_no_more():
    assert not goes_on(100, 0.5, [(109, 0.9)] * MIN_PEERS)
    assert goes_on(100, 0.5, [(111, 0.9)] * MIN_PEERS)
