import pandas as pd
import pytest

from nas.spreadsheets import as_cell, as_cells, from_cell


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "+1+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "  =1", "＝1", "\r=1"])
def test_a_text_that_a_spreadsheet_would_compute_has_a_mark_before_it(text):
    assert as_cell(text) == "'" + text and from_cell(as_cell(text)) == text


@pytest.mark.parametrize("value", ["-3.5", "+1e6", "it's", "'quoted'", "diverged: loss nan", "", 3, -3.5, None, True])
def test_numbers_and_plain_texts_stay(value):
    assert as_cell(value) == value and (not isinstance(value, str) or from_cell(value) == value)


def test_a_table_is_marked_cell_by_cell_and_numbers_stay_numbers():
    table = as_cells(pd.DataFrame({"cause": ["=1", "x"], "macs": [-3, 4], "=x": ["a", "b"]}))
    assert table["cause"].tolist() == ["'=1", "x"] and table["macs"].tolist() == [-3, 4] and list(table)[2] == "'=x"
