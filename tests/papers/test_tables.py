"""The verb `tables`: every MetaFormer exact, other families as they are, an exit code for a digit that is off."""

import csv
import io
import json
import sys

import pytest

from nas.cli.main import main
from nas.papers import tables
from nas.papers.printed import TABLES
from nas.papers.tables import ABSENT, DIFFERS, EXACT, NEAR, OFF, as_printed, line_of, reason, timm_counts

BY_NAME = {(table.title, row.name): (row, table) for table in TABLES for row in table.rows}
S12 = BY_NAME["PoolFormer, configurations", "PoolFormer-S12"]


def nas(monkeypatch, *args):
    """The exit code of `nas ARGS`."""
    monkeypatch.setattr(sys, "argv", ["nas", *args])
    with pytest.raises(SystemExit) as exit_:
        main()
    return exit_.value.code


@pytest.fixture
def two_tables(monkeypatch):
    """The verb on the two tables without other families' rows that have frozen params and LayerScale."""
    monkeypatch.setattr(tables, "TABLES", (TABLES[0], TABLES[2]))


@pytest.mark.parametrize("value, text, shown", [(11.591, "11.6", "11.6"), (73.438, "73", "73"), (4.972, "5.0", "5.0")])
def test_a_count_is_written_with_as_many_decimals_as_are_printed(value, text, shown):
    assert as_printed(value, text) == shown


@pytest.mark.parametrize("wrong", [{"macs": "1.9"}, {"macs": "1.7"}, {"params": "12.0"}, {"params": "11.8"}])
def test_one_digit_beside_the_print_is_off(wrong):
    row, table = S12
    assert line_of(row, table).verdict == EXACT
    assert line_of(row._replace(**wrong), table).verdict == OFF


def test_frozen_params_are_compared_too():
    row, table = BY_NAME["PoolFormer-S12, ablation study", "Pooling → Global random matrix"]
    assert line_of(row, table).verdict == EXACT
    assert line_of(row._replace(frozen_params="22"), table).verdict == OFF


@pytest.mark.parametrize(
    "title, name, verdict",
    [
        ("PoolFormer, ImageNet-1K", "RSB-ResNet-18", NEAR),
        ("PoolFormer, ImageNet-1K", "DeiT-B", NEAR),
        ("PoolFormer, ImageNet-1K", "gMLP-S", NEAR),
        ("PoolFormer, ImageNet-1K", "PVT-Tiny", ABSENT),
        ("MetaFormer Baselines, comparison", "CoAtNet-2", DIFFERS),
    ],
)
def test_other_families_are_as_near_as_timms_models(title, name, verdict):
    row, table = BY_NAME[title, name]
    assert line_of(row, table).verdict == verdict


def test_vit_and_deit_are_one_graph_with_attentions_products_counted():
    vit, deit = (timm_counts(BY_NAME["PoolFormer, ImageNet-1K", name][0]) for name in ("ViT-B/16*", "DeiT-B"))
    c, n, blocks = 768, 197, 12
    by_hand = 16 * 16 * 3 * c * 196 + blocks * (12 * c * c * n + 2 * n * n * c) + c * 1000
    assert vit["core"] == deit["core"] == by_hand


def test_a_caption_names_the_rows_that_give_the_count_away():
    assert "PoolFormer-M48 11.6, not 11.5" in reason(TABLES[0])
    assert "Channel MLP → None 2.5, not 2.4" in reason(TABLES[2])


@pytest.mark.thorough
def test_the_verb_prints_all_tables_and_hides_no_row(monkeypatch, capsys):
    assert nas(monkeypatch, "tables", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metaformer_rows"] == found["metaformer_rows_exact"] == 70
    assert found["other_rows"] == {NEAR: 15, DIFFERS: 2, ABSENT: 10}
    assert [len(table["rows"]) for table in found["tables"]] == [len(table.rows) for table in TABLES]


def test_csv_has_a_line_a_row_and_plain_numbers(monkeypatch, capsys, two_tables):
    assert nas(monkeypatch, "tables", "--csv") == 0
    records = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(records) == 5 + 18
    m48 = records[4]
    assert (m48["params_printed_M"], m48["macs_printed_G"], m48["verdict"]) == ("73.4", "11.6", EXACT)
    assert round(int(m48["macs_core"]) / 1e9, 3) == 11.533
    assert round(int(m48["macs_fvcore"]) / 1e9, 3) == 11.591


def test_a_digit_that_is_off_is_exit_code_1(monkeypatch, capsys):
    row, table = S12
    monkeypatch.setattr(tables, "TABLES", (table._replace(rows=(row._replace(macs="1.9"),)),))
    assert nas(monkeypatch, "tables") == 1
    out = capsys.readouterr().out
    assert OFF in out and "0 of 1 rows as printed" in out


def test_two_outputs_at_once_are_refused(monkeypatch, capsys):
    assert nas(monkeypatch, "tables", "--json", "--csv") == 2
    assert "one output at a time" in capsys.readouterr().err
