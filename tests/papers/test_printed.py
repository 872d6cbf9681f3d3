"""The printed tables: complete, and reproduced by our counts to the last digit."""

import subprocess
import sys
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from scipy.stats import spearmanr

from nas.papers.counting import fvcore_macs, params_without_layer_scale
from nas.papers.printed import ABLATIONS, TABLES
from nas.space.cost import cost
from nas.space.reference import design, designs

OURS = [(table, row) for table in TABLES for row in table.rows if row.family == "metaformer"]


def digits(value, text):
    """`value` rounded to the last digit of `text`."""
    return str(Decimal(value).quantize(Decimal(text), ROUND_HALF_EVEN))


@pytest.mark.parametrize("table, row", [pytest.param(t, r, id=f"{t.title}, {r.name}") for t, r in OURS])
def test_a_metaformers_row_comes_out_to_the_last_printed_digit(table, row):
    architecture, at = design(row.model), {"image_size": row.image_size, "num_classes": 1000}
    found = cost(architecture, **at)
    params = found.params if table.params == "all" else params_without_layer_scale(architecture, **at)
    macs = found.macs if table.macs == "core" else fvcore_macs(architecture, **at)
    assert (digits(params / 1e6, row.params), digits(macs / 1e9, row.macs)) == (row.params, row.macs)
    if row.frozen_params is not None:
        assert digits(found.frozen_params / 1e6, row.frozen_params) == row.frozen_params


def test_every_design_of_a_paper_stands_in_a_table():
    ours = {name for name in designs() if not name.endswith(("_train", "_timm"))}  # other forms of designs that do
    assert ours == {row.model for _, row in OURS}


def test_the_tables_have_as_many_rows_as_the_papers():
    rows = {table.title: len(table.rows) for table in TABLES}
    assert list(rows.values()) == [5, 26, 18, 15, 16, 7, 10]
    assert all(len({row.name for row in table.rows}) == len(table.rows) for table in TABLES)


def test_the_random_matrices_alone_are_frozen():
    assert {row.model for _, row in OURS if row.frozen_params} == {
        "ablation_random",
        *(f"randformer_{size}" for size in ("s12", "s24", "s36", "m36", "m48")),
    }


def test_macs_alone_rank_the_ablations_with_a_spearman_of_0_62():
    macs = [cost(design(row.model), image_size=224, num_classes=1000).macs for row in ABLATIONS]
    assert spearmanr(macs, [float(row.accuracy) for row in ABLATIONS])[0] == pytest.approx(0.62, abs=0.005)


def test_rows_of_other_families_name_a_model_or_say_why_there_is_none():
    others = [row for table in TABLES for row in table.rows if row.family == "other"]
    assert [row.name for row in others if row.model is None and not row.note] == []


def test_the_tables_are_data_that_imports_no_torch():
    code = "import sys, nas.papers.printed; print({'torch', 'timm', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
