"""Names beside their points: none covers another, none leaves the figure where there is room."""

import pandas as pd

from nas.report.axes import baseline_names, baseline_places, front_axes, places
from nas.results.families import family_lines


def test_a_lone_name_stands_on_top_of_its_point_and_below_it_at_the_upper_edge():
    assert places([(0.5, 0.5)], ["net"]) == ["top"]
    assert places([(0.5, 0.99)], ["net"]) == ["bottom"]


def test_a_name_at_the_right_edge_stands_left_of_its_point():
    assert places([(0.99, 0.5)], ["convformer_s18"]) == ["left"]


def test_names_of_neighbours_take_different_sides():
    assert places([(0.5, 0.5), (0.52, 0.5)], ["convformer_s18", "caformer_s18"]) == ["top", "bottom"]


def test_costs_over_a_decade_get_a_logarithmic_axis_that_holds_all_of_them():
    table = pd.DataFrame({"macs": [1e8, 1e9], "accuracy": [0.5, 0.9], "accuracy_low": 0.4, "accuracy_high": 0.95})
    axes = front_axes(table, table, "macs")
    assert axes.logarithmic and axes.x[0] < 1e8 and axes.x[1] > 1e9
    assert axes.y[0] < 40 and axes.y[1] > 95
    narrow = front_axes(table.assign(macs=[1e8, 3e8]), table, "macs")
    assert not narrow.logarithmic and narrow.x[0] < 1e8 and narrow.x[1] > 3e8


def test_baselines_of_nearly_the_same_cost_are_told_apart():
    table = pd.DataFrame(
        {"macs": [3.9e9, 4.1e9, 1e9], "accuracy": [0.958, 0.957, 0.9], "baseline": ["convformer_s18", "caformer_s18", "a"]}
    )
    axes = front_axes(
        table.assign(accuracy_low=0.8, accuracy_high=0.98), table.assign(accuracy_low=0.8, accuracy_high=0.98), "macs"
    )
    sides = baseline_places(table, "macs", axes)
    assert sides[0] != sides[1]


def test_a_family_is_one_line_from_its_cheapest_member_and_named_at_its_dearest():
    names = ["caformer@1.2G", "caformer@0.3G", "poolformerv2@0.6G", "convformer_s18"]
    table = pd.DataFrame({"macs": [1.2e9, 0.3e9, 0.6e9, 3.9e9], "accuracy": [0.9, 0.8, 0.85, 0.95], "baseline": names})
    (line,) = family_lines(table, "macs")
    assert list(line["baseline"]) == ["caformer@0.3G", "caformer@1.2G"]
    assert baseline_names(table, "macs") == ["caformer", "", "poolformerv2@0.6G", "convformer_s18"]
    assert family_lines(table.iloc[:0], "macs") == [] and baseline_names(table.iloc[:0], "macs") == []
