from nas.search.rungs import goes_on

RIVALS = [(80, 0.6), (90, 0.7), (100, 0.8), (70, 0.4)]


def test_the_first_at_a_rung_goes_on():
    assert goes_on(100, 0.0, [], share=0.5)


def test_a_trial_that_nothing_no_dearer_beats_goes_on():
    assert goes_on(100, 0.85, RIVALS, share=0.06)
    assert not goes_on(100, 0.75, RIVALS, share=0.06)


def test_the_cheaper_the_rung_the_fewer_go_on():
    assert goes_on(100, 0.65, RIVALS, share=0.5)  # behind two of four rivals, below half of five
    assert not goes_on(100, 0.65, RIVALS, share=0.25)
    assert not goes_on(100, 0.5, RIVALS, share=0.5)


def test_the_cheap_end_survives_beside_large_accurate_networks():
    assert goes_on(10, 0.3, [(100, 0.9)] * 20, share=0.06)


def test_a_little_more_cost_counts_as_no_more():
    assert not goes_on(100, 0.5, [(129, 0.9)] * 4, share=0.5)
    assert goes_on(100, 0.5, [(131, 0.9)] * 4, share=0.5)
