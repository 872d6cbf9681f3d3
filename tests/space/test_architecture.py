"""One network has one value, one key and one JSON; what cannot be built is refused with the way out."""

import json

import pytest

from nas.config.values import validated
from nas.errors import ConfigError
from nas.space.architecture import Architecture, Stage, read_architecture
from nas.space.mixers import legend
from nas.space.reference import design, designs

PLAIN = {"mixer": "pool", "depth": 2, "width": 64}


def one_stage(**changes):
    return Architecture(stages=(Stage(**{**PLAIN, **changes}),))


@pytest.mark.parametrize("name", designs())
def test_an_architecture_survives_json(name):
    text = json.dumps(design(name).to_dict())
    again = Architecture.model_validate(json.loads(text))
    assert (again, again.key) == (design(name), design(name).key)


def test_the_full_json_with_its_nulls_is_the_same_architecture():
    architecture = design("caformer_s18")
    assert Architecture.model_validate(architecture.model_dump(mode="json")) == architecture


@pytest.mark.parametrize(
    "mixer, inactive",
    [
        ("pool", {"kernel_size": 5, "expansion": 3.0, "head_dim": 16, "proj_bias": True}),
        ("identity", {"pool_size": 5, "kernel_size": 5}),
        ("attention", {"pool_size": 5, "kernel_size": 5}),
        ("conv", {"pool_size": 5, "head_dim": 16}),
        ("affine", {"pool_size": 5, "head_dim": 16}),
    ],
)
def test_options_of_other_mixers_are_dropped(mixer, inactive):
    assert one_stage(mixer=mixer, **inactive) == one_stage(mixer=mixer)
    assert one_stage(mixer=mixer, **inactive).key == one_stage(mixer=mixer).key


@pytest.mark.parametrize(
    "stage, inactive",
    [
        ({"norm": "none"}, {"norm_bias": True}),
        ({"mlp_ratio": 0}, {"mlp_bias": True}),
        ({"mlp_ratio": 0}, {"activation": "gelu"}),
        ({"mlp_ratio": 0}, {"mlp": "conv"}),
        ({"residual": False}, {"res_scale": True}),
    ],
)
def test_a_choice_that_another_choice_switches_off_is_dropped(stage, inactive):
    assert one_stage(**stage, **inactive).key == one_stage(**stage).key
    assert one_stage(**inactive).key != one_stage().key


def test_the_activation_of_a_separable_convolution_counts_without_an_mlp():
    gelu, relu = (one_stage(mixer="conv", mlp_ratio=0, activation=name) for name in ("gelu", "relu"))
    assert gelu.key != relu.key


def test_a_default_that_is_written_out_changes_nothing():
    assert one_stage(mixer="attention", head_dim=32, proj_bias=False) == one_stage(mixer="attention")
    assert one_stage(pool_size=3, mlp_ratio=4.0).key == one_stage().key


RECORDED = {
    "poolformer_s12": "244c47a2f00a",
    "caformer_s18": "e77fcb5754cd",
    "randformer_s12": "9bc4e332fa41",
    "ablation_ppff": "acfe7aaeaa93",
}


@pytest.mark.parametrize("name", RECORDED)
def test_a_design_has_the_key_that_it_had_before_settings_were_added(name):
    assert design(name).key == RECORDED[name]
    assert design(name).to_dict()["stages"][0]["mlp"] == "plain"  # written out all the same


@pytest.mark.parametrize("changes", [{"mlp": "conv"}, {"se_ratio": 0.25}, {"mixer": "linear_attention"}])
def test_a_stage_with_a_further_block_has_another_key_and_survives_json(changes):
    architecture = one_stage(**changes)
    assert architecture.key != one_stage().key
    assert Architecture.model_validate(json.loads(json.dumps(architecture.to_dict()))) == architecture


def test_a_kernel_is_no_choice_of_a_stem_of_two_steps():
    plain = {"stages": (Stage(**PLAIN),)}
    two, other = (Architecture(**plain, stem_steps=2, stem_kernel=kernel) for kernel in (7, 5))
    assert two == other and two.key == other.key != Architecture(**plain).key
    assert Architecture.model_validate(two.to_dict()) == two


def test_ratios_of_squeeze_and_excitation_with_as_many_channels_have_one_key():
    assert one_stage(se_ratio=0.25).key == one_stage(se_ratio=0.26).key != one_stage(se_ratio=0.5).key


def test_mlp_ratios_of_the_same_hidden_width_have_one_key():
    assert one_stage(mlp_ratio=2.001).key == one_stage(mlp_ratio=2.0).key != one_stage(mlp_ratio=2.1).key


def test_different_networks_have_different_keys():
    keys = {architecture.key for architecture in designs().values()}
    same = {"ablation_baseline": "poolformer_s12", "ablation_identity": "riformer_s12"}
    assert len(keys) == len(designs()) - len(same)
    assert all(design(a).key == design(b).key for a, b in same.items())


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"pool_size": 4}, "pool_size must be odd so that the feature map keeps its size, but got 4"),
        ({"mixer": "conv", "kernel_size": 6}, "kernel_size must be odd"),
        ({"mixer": "attention", "width": 48}, "width must be a multiple of head_dim=32 for attention, but got 48"),
        ({"mixer": "pooling"}, "did you mean pool"),
        ({"depht": 3}, "did you mean depth"),
        ({"depth": 0}, "greater than or equal to 1"),
        ({"depth": 2.5}, "depth"),
        ({"width": True}, "width"),
        ({"mlp_ratio": -1}, "greater than or equal to 0"),
        ({"layer_scale": 0}, "greater than 0"),
        ({"mlp": "convolution"}, "mlp: unknown mlp 'convolution'; did you mean conv"),
        ({"mlp": True}, "mlp: unknown mlp 'True'. Known: plain, conv"),
        ({"se_ratio": 0.01}, "se_ratio must leave at least one channel of width 64, but got 0.01; 0 leaves"),
        ({"se_ratio": 2}, "se_ratio: must be less than or equal to 1, but got 2"),
        ({"se_ratio": -0.1}, "greater than or equal to 0"),
        ({"se_ratio": float("nan")}, "se_ratio"),
        (
            {"mixer": "linear_attention", "width": 48},
            "width must be a multiple of head_dim=32 for linear_attention, but got 48",
        ),
    ],
)
def test_a_stage_that_cannot_be_built_is_refused_where_it_stands(changes, message):
    with pytest.raises(ConfigError, match=message) as refusal:
        validated(Architecture, {"stages": [PLAIN, {**PLAIN, **changes}]}, where="mine.yaml")
    assert str(refusal.value).startswith("mine.yaml: stages.1")


@pytest.mark.parametrize(
    "data, message",
    [
        ({"stages": []}, "stages"),
        ({"stages": [PLAIN], "stem_kernel": 3}, "stem_kernel must be at least stem_stride=4 .* but got 3"),
        ({"stages": [PLAIN], "head": "lineal"}, "did you mean linear"),
        ({"stages": [PLAIN], "stem_steps": 3}, "stem_steps: must be less than or equal to 2, but got 3"),
        ({"stages": [PLAIN], "stem_steps": True}, "stem_steps: must be a whole number, .*but got True"),
        ({"stages": [PLAIN], "stem_steps": "two"}, "stem_steps: must be a whole number, .*but got 'two'"),
        ({"stages": [PLAIN], "stem_steps": 2, "stem_stride": 3}, "stem_stride must be 1, 2 or 4 with stem_steps=2, but got 3"),
        ({"stages": [{"depth": 1, "width": 8}]}, "stages.0.mixer: this key is required"),
    ],
)
def test_an_architecture_that_cannot_be_built_is_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        validated(Architecture, data, where="mine.yaml")


def test_an_architecture_is_described_in_one_line():
    assert design("caformer_s18").describe() == "C3·64 C3·128 A9·320 A3·512"


def test_what_a_stage_has_besides_is_in_its_line_and_in_the_legend():
    both = Architecture(stages=(Stage(**PLAIN), Stage(**PLAIN, mlp="conv"), Stage(**PLAIN, mlp="conv", se_ratio=0.5)))
    assert both.describe() == "P2·64 P2·64+c P2·64+cs"
    words = "+c a convolution in the channel MLP, +s squeeze-and-excitation"
    assert legend([both.describe()]) == f"architecture: stage by stage mixer, depth · width; P pool, {words}"
    assert legend([design("poolformer_s12").describe()]).endswith("; P pool")


def test_an_architecture_is_read_from_json_bare_or_under_its_key(tmp_path):
    data = design("poolformer_s12").to_dict()
    for content in (data, {"architecture": data, "accuracy": 0.7}):
        (tmp_path / "a.json").write_text(json.dumps(content))
        assert read_architecture(tmp_path / "a.json") == design("poolformer_s12")


def test_a_file_that_holds_no_architecture_is_named(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2]")
    with pytest.raises(ConfigError, match=r"a\.json: must be a mapping of keys to values, but got"):
        read_architecture(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["randformer_s12", "ablation_pppa", "ablation_ppff"])
def test_weights_with_one_entry_a_position_fix_the_resolution(name):
    assert design(name).needs_fixed_resolution and not design("caformer_s18").needs_fixed_resolution
