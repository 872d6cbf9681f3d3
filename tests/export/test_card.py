"""The model card: what a stranger has to know, and nothing of the machine that wrote it."""

import pytest
import yaml

from nas.errors import ConfigError
from nas.export.card import checked_license, without_paths
from nas.export.directory import Description, drafted
from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
from nas.space.reference import from_timm

PROVENANCE = {
    "run": "hybrid", "trial": 17, "accuracy": 0.8125, "split": "the test split", "image_size": 32, "manifest": "ab12cd34ef56",
    "seed": 3, "data": "/home/me/cats", "recipe": {"epochs": 9, "data": "/home/me/cats"}, "versions": {"torch": "2.15.0"},
}  # fmt: skip
ABOUT = Description(class_names=None, mean=(0.5, 0.4, 0.3), std=(0.2,) * 3, provenance=PROVENANCE, license="apache-2.0")
POOLED = Architecture(stages=[Stage(mixer="pool", depth=2, width=16), Stage(mixer="conv", depth=1, width=32, kernel_size=5)])


def card(architecture, *, size=32, about=ABOUT, formats=()):
    state = build(architecture, image_size=32, num_classes=4).state_dict()
    return drafted(architecture, state, about, image_size=size, num_classes=4, formats=formats).texts["README.md"]


def test_the_card_names_cost_accuracy_split_data_recipe_and_where_it_comes_from():
    text = card(POOLED)
    # by hand: stem 147·16·8², downsampling 9·16·32·4², MLPs 8·C²·N a block, SepConv (4·C² + 2·5²·C)·N, classifier 32·4
    macs = 147 * 16 * 64 + 9 * 16 * 32 * 16 + 2 * 8 * 16**2 * 64 + 8 * 32**2 * 16 + (4 * 32**2 + 50 * 32) * 16 + 32 * 4
    assert f"{macs / 1e3:.0f} k multiply-accumulates at " in text  # beside what the search's tables count
    assert "top-1 accuracy 81.2 % on the test split\n" in text
    assert "Data: cats." in text and "epochs: 9" in text
    assert "- run: hybrid\n- trial: 17\n- manifest of the images, hash: ab12cd34ef56\n- seed: 3" in text
    assert "| 2 | conv (kernel_size 5, expansion 2.0) | 1 | 32 | 4 | star_relu | layer |" in text
    assert "/home/me" not in text


def test_the_header_is_what_the_hub_reads():
    header = yaml.safe_load(card(POOLED).split("---")[1])
    assert header["license"] == "apache-2.0" and header["library_name"] == "timm" and "timm" in header["tags"]
    assert "\nlicense: unknown\n" in card(POOLED, about=ABOUT._replace(license="unknown"))


@pytest.mark.parametrize(
    "architecture, level, lines",
    [
        (from_timm("poolformerv2_s12"), "Level A", ["import timm", "net = timm.create_model("]),
        (POOLED, "Level B", ["import importlib.util, sys, timm", "# registers nas_", "net = timm.create_model("]),
    ],
)
def test_each_level_says_how_to_load_it(architecture, level, lines):
    text = card(architecture)
    loading = text.split("```python\n")[1].split("```")[0]
    assert level in text and all(line in loading for line in lines)
    assert ("model.py" in loading) == (level != "Level A")


def test_an_accuracy_of_another_resolution_says_so():
    assert "81.2 % on the test split, at 32 px" in card(POOLED, size=64)


def test_affine_stages_that_could_not_be_merged_are_named():
    text = card(Architecture(stages=[Stage(mixer="affine", depth=1, width=32)]))
    assert "stage 1 are not merged: its layer norm has no bias" in text


def test_frozen_parameters_and_other_files_are_named():
    text = card(Architecture(stages=[Stage(mixer="random", depth=1, width=16)]), formats=["onnx"])
    assert "4.10 k of them frozen" in text and "- model.onnx: " in text  # (8·8)² entries


def test_what_is_not_known_is_said_to_be():
    text = card(POOLED, about=ABOUT._replace(provenance={}))
    assert "The recipe is not known." in text and "## Provenance\n\nNot known." in text and "accuracy" not in text


def test_paths_of_the_machine_become_names_and_other_words_stay():
    given = {"data": "/mnt/a/cats", "of": ["hfds/cats", {"weights": "/x/w.safetensors"}], "n": 1}
    assert without_paths(given) == {"data": "cats", "of": ["hfds/cats", {"weights": "w.safetensors"}], "n": 1}


@pytest.mark.parametrize("name", ["", "my licence", "mit\ntags: x", "a:b"])
def test_a_licence_that_would_break_the_header_is_refused(name):
    with pytest.raises(ConfigError, match="must be an identifier such as apache"):
        checked_license(name)
    assert checked_license("MIT") == "mit"


HOSTILE = "<script>alert(1)</script> [x](http://x) ![y](z) `a` *b* | c # d\n## e"


def test_what_a_foreign_origin_says_is_text_in_the_card_and_no_markup():
    told = {"run": HOSTILE, "trial": HOSTILE, "split": HOSTILE, "data": HOSTILE, "seed": {"a": "<b>"}, "versions": {"<i>": "x"}}
    text = card(POOLED, about=ABOUT._replace(provenance={**PROVENANCE, **told}, notes=(HOSTILE,)))
    assert "<script" not in text and "&lt;script&gt;" in text and "<b>" not in text and "<i>" not in text
    assert "\n## e" not in text and "![y]" not in text and r"\!\[y\]" in text


def test_a_recipe_that_would_end_its_block_stays_within_it():
    text = card(POOLED, about=ABOUT._replace(provenance={**PROVENANCE, "recipe": {"data": "x\n```\n# out\n````"}}))
    block = text.split("## Training")[1].split("## Provenance")[0]
    assert block.count("`````") == 2 and block.rstrip().endswith("`````")


def test_an_accuracy_that_is_no_number_is_left_out():
    assert "top-1" not in card(POOLED, about=ABOUT._replace(provenance={**PROVENANCE, "accuracy": "high"}))
