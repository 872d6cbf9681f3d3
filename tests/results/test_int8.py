"""What int8 does to a table of trials."""

import pandas as pd

from nas.results.int8 import as_int8, int8_in_words, swaps


def table(float_and_int8):
    rows = [
        {"trial": i, "run": "r", "expected": before, "accuracy_low": before - 0.01, "accuracy_high": before + 0.01,
         "accuracy_int8": after, "lost_int8": before - after}
        for i, (before, after) in enumerate(float_and_int8)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_networks_that_int8_turns_round_are_named_with_both_accuracies():
    turned = swaps(table([(0.90, 0.85), (0.88, 0.87), (0.70, 0.69)]))
    assert [(swap.ahead, swap.behind) for swap in turned] == [("0", "1")]
    assert str(turned[0]) == "0 and 1 (90.0 % and 88.0 % in float, 85.0 % and 87.0 % in int8)"


def test_what_int8_costs_is_said_in_one_line():
    assert int8_in_words(table([(0.90, 0.85), (0.88, 0.87)])) == (
        "int8: 2 networks lose 3.0 points (median), 5.0 at most; another order of "
        "0 and 1 (90.0 % and 88.0 % in float, 85.0 % and 87.0 % in int8)"
    )
    assert "the order stays" in int8_in_words(table([(0.90, 0.89), (0.80, 0.79)]))
    assert int8_in_words(table([(0.9, float("nan"))])) is None


def test_in_int8_each_network_is_expected_to_lose_what_it_lost():
    shown = as_int8(table([(0.90, 0.85), (0.88, float("nan"))]), where="run")
    assert shown["trial"].tolist() == [0]
    assert [round(value, 6) for value in shown.loc[0, ["expected", "accuracy_low", "accuracy_high"]]] == [0.85, 0.84, 0.86]
