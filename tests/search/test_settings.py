from pathlib import Path

import pytest

from nas.errors import ConfigError
from nas.search.settings import read_search

SPACES = sorted((Path(__file__).parents[2] / "search_spaces").glob("*.yaml"))
TINY = next(p for p in SPACES if p.stem == "tiny")


@pytest.mark.parametrize("path", SPACES, ids=lambda p: p.stem)
def test_every_shipped_space_can_be_read_and_is_named_after_its_file(path):
    assert read_search(path).name == path.stem


def test_the_flagship_has_all_six_mixers_and_a_billion_architectures():
    space = read_search(next(p for p in SPACES if p.stem == "hybrid")).space
    assert {m for s in (1, 2, 3, 4) for m in space.axes[f"stage{s}.mixer"]} == {
        "pool", "identity", "random", "conv", "attention", "spatial_fc",
    }  # fmt: skip
    assert len(space.stages) == 4
    assert space.size >= 10**9


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("search.sampler=tpee", "search.sampler: unknown sampler 'tpee'; did you mean tpe?"),
        ("search.trials=0", "search.trials: must be greater than or equal to 1, but got 0"),
        ("baselines=[poolformer_s13]", "baselines: unknown baseline 'poolformer_s13'; did you mean poolformer_s"),
        ("baselines=[poolformer_s12, poolformer_s12]", "baselines: must be different designs"),
        ("search.start=[cafomer_s18]", "search.start: unknown design 'cafomer_s18'; did you mean caformer_s18"),
        ("objectives=[macs]", "objectives: must be accuracy, then one or two different costs"),
        ("objectives=[accuracy, latency]", "objectives: unknown objectives 'latency'"),
        ("constraints.macs.max=many", "constraints.macs.max: must be a valid integer"),
        ("proxy.rungs=[3, 9]", "proxy.rungs"),
        ("proxy.epochs=none", "proxy.epochs: must be a valid integer"),
        ("proxy.image_size=[24, 32]", "proxy.image_size: must be one size where stages may mix by random"),
        ("name=a/b", "name: must match pattern"),
        ("serch.trials=3", "unknown key 'serch'; did you mean search"),
        ("resources.gpu=-1", "resources.gpu: must be greater than or equal to 0"),
    ],
)
def test_a_setting_that_breaks_a_rule_is_refused_by_its_path(setting, message):
    with pytest.raises(ConfigError) as caught:
        read_search(TINY, settings=[setting])
    assert message in str(caught.value)
    assert str(TINY) in str(caught.value)


def test_start_takes_one_name_a_list_or_all_references(tiny):
    assert tiny("search.start=caformer_s18").search.start_designs == ("caformer_s18",)
    all_of_them = tiny("search.start=[poolformer_s12, references]").search.start_designs
    assert all_of_them[:2] == ("poolformer_s12", "poolformerv2_s12") and len(all_of_them) == 14
