from pathlib import Path

import pytest

from nas.errors import ConfigError
from nas.run.settings.search import check_possible, read_search

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
        ("search.sampler=3", "search.sampler: unknown sampler '3'. Known: front, "),
        ("search.sampler=[tpe]", "did you mean tpe? Known: front, "),
        ("space.stages.2.mixer=no", "space.stages.2.mixer: unknown mixer 'no'; did you mean "),
        ("search.trials=0", "search.trials: must be greater than or equal to 1, but got 0"),
        ("baselines=[poolformer_s13]", "baselines: unknown design 'poolformer_s13'; did you mean poolformer_s"),
        ("baselines=[poolformer_s12, poolformer_s12]", "baselines: must be different designs"),
        ("baselines=[caformer@2k]", "baselines: caformer@2k: caformer reaches from "),
        ("baselines=[caformer@]", "baselines: a scaled family must be named as in caformer@0.6G or caformer@3M-params"),
        ("baselines={families: [vit], at: 1G}", "baselines.families: unknown family 'vit'. Known: poolformer, "),
        ("baselines={families: ablation_identity, at: 1G}", "baselines.families: unknown family 'ablation_identity'"),
        ("baselines={families: [caformer], at: []}", "baselines.at: "),
        ("baselines={families: [caformer], at: 1G, by: mac}", "baselines.by: unknown cost 'mac'; did you mean macs?"),
        ("baselines={families: [caformer]}", "baselines.at: "),
        ("baselines={families: [caformer], at: 900T}", "baselines: caformer@0.9P: caformer reaches from "),
        ("baselines={families: [poolformer], at: [1.001M, 1.002M]}", "must be different designs, but poolformer@1002k and "),
        ("search.start=[cafomer_s18]", "search.start: unknown design 'cafomer_s18'; did you mean caformer_s18"),
        ("objectives=[macs]", "objectives: must be accuracy, then one or two different costs"),
        ("objectives=[accuracy, accuracy]", "objectives: must be accuracy, then one or two different costs"),
        ("search.trials=1_0", "search.trials: must be a whole number, but got '1_0'"),
        ("search.trials=true", "search.trials: must be a whole number, but got True"),
        ("search.trials=8.5", "search.trials: must be a whole number, but got 8.5"),
        ("search.stop.gain=much", "search.stop.gain: must be a share, such as 0.5% or 0.005, but got 'much'"),
        ("search.stop.gain=0", "search.stop.gain: must be greater than 0, but got 0"),
        ("search.stop.gain=100%", "search.stop.gain: must be less than 1, but got "),
        ("search.stop.within=0", "search.stop.within: must be greater than or equal to 1, but got 0"),
        ("search.stop.gains=1%", "search.stop: unknown key 'gains'; did you mean gain?"),
        ("search.cache=yes", "search.cache: must be true or false, but got 'yes'"),
        ("search.max_hours=soon", "search.max_hours: must be a number, but got 'soon'"),
        ("space.all_stages.mlp_ratio=[2, 0.01]", "space.stages.1.mlp_ratio: mlp_ratio must leave at least one channel"),
        ("objectives=[accuracy, latency]", "objectives: unknown objective 'latency'"),
        ("constraints.macs.max=many", "constraints.macs.max: must be a whole number"),
        ("proxy.rungs=[3, 9]", "proxy.rungs"),
        ("proxy.epochs=none", "proxy.epochs: must be a whole number"),
        ("proxy.image_size=[24, 32]", "proxy.image_size: must be one size where stages may mix by random"),
        ("name=a/b", "name: must begin with a letter or digit, and have only these"),
        ("keep_copies=true", "unknown key 'keep_copies'; did you mean proxy.keep_copies?"),
        ("constraints.macs=2,5M", "a whole number, or one with a unit such as 2.5M or 0.3G, but got '2,5M'."),
        ("proxy.classes=few.txt", "proxy.classes: must be a number, names, or a text file of names: "),
        ("serch.trials=3", "unknown key 'serch'; did you mean search"),
        ("resources.gpu=-1", "resources.gpu: must be greater than or equal to 0"),
        ("resources.gpu=1.5", "resources.gpu: must be a part of one GPU or a whole number of them, but got 1.5"),
        ("resources.cpu=.inf", "resources.cpu: must be a finite number"),
        ("search.seed=4294967296", "search.seed: must be less than 4294967296"),
        ("space.stages.1.width={low: 1, high: 100000000000}", "a range must hold at most 10,000 integers"),
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


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("proxy.image_size=4", r"proxy\.image_size: must suit every network, but .* does not fit: an image of 4 px"),
        ("proxy.stem_stride=9", r"proxy\.stem_stride: must suit every network, but .* does not fit: "),
    ],
)
def test_a_proxy_that_no_network_can_be_trained_with_is_refused(tiny, setting, message):
    with pytest.raises(ConfigError, match=message):
        check_possible(tiny(setting))


def test_the_shipped_proxy_suits_the_space_and_the_baselines(tiny):
    check_possible(tiny("baselines=[poolformer_s12, caformer_s18]"))


def test_it_is_said_where_costs_are_not_those_of_the_networks_that_the_proxy_trains(tiny):
    assert tiny().counted_elsewhere(10) is None
    text = tiny("proxy.image_size=64").counted_elsewhere(8)
    assert "counted at 32 px and 10 classes" in text and "trains at 64 px and 8 classes" in text
