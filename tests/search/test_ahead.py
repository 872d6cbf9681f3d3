"""How many proposals are held ready, by how much of the time asking takes."""

import pytest

from nas.search.ahead import LAST, Ahead


def after_asks(*, workers: int, took: float, between: float) -> int:
    now = 0.0
    ahead = Ahead(workers, clock=lambda: now)
    for _ in range(LAST):
        with ahead.timed():
            now += took
        now += between
    return ahead.number


@pytest.mark.parametrize(
    ("took", "between", "number"),
    [(0.1, 10.0, 0), (0.1, 0.4, 1), (0.1, 0.9, 1), (0.2, 0.05, 3), (1.0, 0.0, 16)],
)
def test_the_more_time_asking_takes_the_more_proposals_are_held_ready(took, between, number):
    assert after_asks(workers=16, took=took, between=between) == number


def test_a_search_by_one_worker_stays_repeatable():
    assert after_asks(workers=1, took=1.0, between=0.0) == 0


def test_nothing_is_made_ahead_before_it_is_known_how_long_it_takes():
    ahead = Ahead(16)
    with ahead.timed():
        pass
    assert ahead.number == 0
