"""The front beside the best family at equal cost, on made-up accuracies whose difference is known."""

import numpy as np
import pandas as pd
import pytest

from nas.results.families import lead_over_families
from nas.results.noise import Right
from nas.training.curve import packed_bits

IMAGES = 400
FAMILIES = {"caformer": (0.6, 0.7), "convformer": (0.5, 0.8)}  # accuracy at 1 and 4 M


def right(accuracy):
    """The first images are the easy ones."""
    return Right(IMAGES, (packed_bits(np.arange(IMAGES) < accuracy * IMAGES),))


def table(searched, *, rights=True, seeds=0.0):
    rows = [{"macs": macs, "accuracy": accuracy, "baseline": None} for macs, accuracy in searched]
    for name, ends in FAMILIES.items():
        rows += [
            {"macs": macs, "accuracy": a, "baseline": f"{name}@{macs / 1e6:g}M"}
            for macs, a in zip((1e6, 4e6), ends, strict=True)
        ]
    trials = pd.DataFrame(rows).assign(state="complete", within_limits=True, seed_margin=seeds)
    trials["expected"] = trials["accuracy"]
    trials["right"] = [right(a) if rights else None for a in trials["accuracy"]]
    return trials, trials[trials["baseline"].isna()]


def test_at_each_cost_the_best_family_counts_and_a_line_joins_its_members():
    lead = lead_over_families(*table([(1e6, 0.9)]))
    assert (lead.costs[0], lead.costs[-1]) == pytest.approx((1e6, 4e6))
    assert (lead.points[0], lead.points[-1]) == pytest.approx((0.3, 0.1))
    assert lead.families[0] == "caformer" and lead.families[-1] == "convformer"
    middle = len(lead.costs) // 2
    assert lead.points[middle] == pytest.approx(0.9 - 0.65, abs=0.005)  # both are at 0.65 there
    assert lead.mean == pytest.approx(lead.points.mean())


def test_what_costs_more_does_not_count_for_the_front():
    lead = lead_over_families(*table([(1e6, 0.55), (2e6, 0.9)]))
    assert lead.points[0] == pytest.approx(-0.05)
    assert lead.points[-1] == pytest.approx(0.1)


def test_ahead_and_behind_are_said_only_beyond_the_noise():
    lead = lead_over_families(*table([(1e6, 0.61), (3.9e6, 0.95)]))
    assert lead.shares["behind"] > 0 and lead.is_ahead[-1] and not lead.is_ahead[0]
    assert sum(lead.shares.values()) == pytest.approx(1)
    unsure = lead_over_families(*table([(1e6, 0.61), (3.9e6, 0.95)], seeds=1.0))
    assert unsure.shares == {"ahead": 0.0, "tied": 1.0, "behind": 0.0}
    assert "tied" in unsure.in_words("macs")


def test_the_same_images_are_compared_in_pairs():
    lead = lead_over_families(*table([(1e6, 0.61)]))
    assert 0 < lead.half[0] < 1.96 * np.sqrt(2 * 0.6 * 0.4 / IMAGES)


def test_the_noise_of_a_line_between_two_members_is_less_than_of_either():
    lead = lead_over_families(*table([(1e6, 0.9)], seeds=0.02))
    assert lead.half[len(lead.half) // 2] < lead.half[0]


def test_without_answers_no_claim_is_made():
    lead = lead_over_families(*table([(1e6, 0.9)], rights=False))
    assert not lead.is_ahead.any() and not lead.is_behind.any()
    assert "not known" in lead.in_words("macs")


@pytest.mark.parametrize("trials", [table([])[0], table([(1e6, 0.9)])[0].iloc[:2], table([(9e6, 0.9)])[0]])
def test_where_the_two_share_no_cost_there_is_no_lead(trials):
    assert lead_over_families(trials, trials[trials["baseline"].isna()]) is None
