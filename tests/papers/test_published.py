"""timm's published results: the part of their front at a search's costs."""

import pandas as pd
import pytest

from nas.papers.published import PUBLISHED_RESULTS, published_front


def test_the_front_reaches_one_model_beyond_either_end():
    best = published_front(0.3e9, 1e9)
    inside = best[(best["macs"] > 0.3e9) & (best["macs"] <= 1e9)]
    assert len(best) == len(inside) + 2
    assert best["macs"].is_monotonic_increasing and best["top1"].between(0, 1).all()


def test_no_model_of_it_is_beaten_and_none_had_a_teacher():
    best, rows = published_front(0, 1e12), pd.read_csv(PUBLISHED_RESULTS)
    alone = rows[~rows["distilled"]]
    for row in best.itertuples():
        better = alone[(alone["gmacs"] * 1e9 <= row.macs) & (alone["params_m"] * 1e6 <= row.params)]
        assert better["top1"].max() / 100 == pytest.approx(row.top1)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (1e12, 1e13)])
def test_costs_that_nobody_published_show_the_nearest_model(low, high):
    assert len(published_front(low, high)) == 1
