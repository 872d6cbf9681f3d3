from nas.search.rungs import is_promising

RIVALS = [(80, 0.6), (90, 0.7), (100, 0.8), (70, 0.4)]


def test_the_first_at_a_rung_is_promising():
    assert is_promising(100, 0.0, [], share=0.5)


def test_a_trial_that_nothing_no_dearer_beats_is_promising():
    assert is_promising(100, 0.85, RIVALS, share=0.06)
    assert not is_promising(100, 0.75, RIVALS, share=0.06)


def test_the_cheaper_the_rung_the_fewer_go_on():
    rivals = [(50, i / 20) for i in range(19)]  # with the trial twenty
    assert is_promising(100, 0.72, rivals, share=0.5)  # four of them are ahead, five would be too many
    assert not is_promising(100, 0.67, rivals, share=0.5)
    assert is_promising(100, 0.87, rivals, share=0.25)  # one is ahead
    assert not is_promising(100, 0.72, rivals, share=0.25)


def test_the_cheap_end_survives_beside_large_accurate_networks():
    assert is_promising(10, 0.3, [(100, 0.9)] * 20, share=0.06)


def test_a_little_more_cost_counts_as_no_more():
    assert not is_promising(100, 0.5, [(129, 0.9)] * 4, share=0.5)
    assert is_promising(100, 0.5, [(131, 0.9)] * 4, share=0.5)
