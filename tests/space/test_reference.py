"""The papers' designs by name: read off their tables, not off the code that makes them."""

import subprocess
import sys

import pytest

from nas.errors import ConfigError
from nas.space.reference import design, designs


def column(name, field):
    return [getattr(stage, field) for stage in design(name).stages]


@pytest.mark.parametrize(
    "name, depths, widths",
    [
        ("poolformer_s12", [2, 2, 6, 2], [64, 128, 320, 512]),
        ("poolformer_m48", [8, 8, 24, 8], [96, 192, 384, 768]),
        ("randformer_s24", [4, 4, 12, 4], [64, 128, 320, 512]),
        ("poolformerv2_m36", [6, 6, 18, 6], [96, 192, 384, 768]),
        ("convformer_s18", [3, 3, 9, 3], [64, 128, 320, 512]),
        ("caformer_m36", [3, 12, 18, 3], [96, 192, 384, 576]),
        ("caformer_b36", [3, 12, 18, 3], [128, 256, 512, 768]),
    ],
)
def test_depths_and_widths_are_those_of_the_tables(name, depths, widths):
    assert (column(name, "depth"), column(name, "width")) == (depths, widths)


@pytest.mark.parametrize(
    "name, mixers",
    [
        ("randformer_s12", ["identity", "identity", "random", "random"]),
        ("caformer_s18", ["conv", "conv", "attention", "attention"]),
        ("riformer_m36_train", ["affine"] * 4),
        ("riformer_m36", ["identity"] * 4),
        ("ablation_random", ["random"] * 4),
        ("ablation_ppff", ["pool", "pool", "spatial_fc", "spatial_fc"]),
    ],
)
def test_mixers_are_those_of_the_tables(name, mixers):
    assert column(name, "mixer") == mixers


def test_there_are_eighteen_ablations_and_every_size_of_every_family():
    names = list(designs())
    assert sum(name.startswith("ablation_") for name in names) == 18
    assert len(names) == 18 + 7 * 5 + 2 * 4


def test_poolformers_scale_their_branches_by_1e_5_and_from_s36_on_by_1e_6():
    values = [design(f"poolformer_{size}").stages[0].layer_scale for size in ("s12", "s24", "s36", "m36", "m48")]
    assert values == [1e-5] * 2 + [1e-6] * 3


def test_the_baselines_scale_the_skips_of_stages_three_and_four_only():
    assert column("convformer_s18", "res_scale") == [False, False, True, True]
    assert column("poolformerv2_s12", "layer_scale") == [None] * 4


def test_the_heads_are_mlps_in_convformer_and_caformer_only():
    mlp = {name.split("_")[0] for name, architecture in designs().items() if architecture.head == "mlp"}
    assert mlp == {"convformer", "caformer"}


@pytest.mark.parametrize("row, embedded", [("pppa", [False, False, False, True]), ("ppaa", [False, False, True, False])])
def test_a_hybrid_learns_positions_once_before_its_first_attention(row, embedded):
    assert column(f"ablation_{row}", "position_embedding") == embedded
    assert {s.proj_bias for s in design(f"ablation_{row}").stages if s.mixer == "attention"} == {True}


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match=r"unknown design 'caformer_s12'; did you mean caformer_s\d\d"):
        design("caformer_s12")


def test_the_space_imports_neither_torch_nor_optuna_nor_ray():
    code = "import sys, nas.space.reference, nas.space.cost; print({'torch', 'timm', 'optuna', 'ray'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
