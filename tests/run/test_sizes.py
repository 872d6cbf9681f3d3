"""Costs at another image size than the space's: searched by, limited, written down, shown; refused where they mean nothing."""

import io

import pytest
from rich.console import Console

from nas.errors import ConfigError, Infeasible, NasError
from nas.report.terminal import show_front
from nas.results.front import load
from nas.run.dry_run import show_space
from nas.run.folder import open_folder, read_run
from nas.run.settings.search import check_possible
from nas.search.study import Study
from nas.space.architecture import Architecture, Stage
from nas.space.cost import cost
from nas.space.costs import cost_kind, size_in
from tests.studies import finish_all

ANY_SIZE = ("space.stages.3.mixer=attention", "search.trials=6", "search.sampler=random", "proxy.rungs=[]")


def text_of(show, *arguments, **options):
    console = Console(file=io.StringIO(), width=300)
    show(*arguments, console, **options)
    return console.file.getvalue()


@pytest.fixture
def finished(tiny, tmp_path):
    """A run of made-up trainings that weighs MACs at 512 px."""

    def run(*settings):
        search = tiny(*ANY_SIZE, *settings)
        study = Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")
        finish_all(study)
        study.close()
        return search, tmp_path / "run"

    return run


def test_attention_costs_the_square_of_its_positions_at_the_larger_size():
    """By hand: one block of attention without an MLP, width 32, on (512 / 4)² positions: 4 n C² + 2 n² C."""
    with_block, without = (
        Architecture(stages=(Stage(mixer=mixer, depth=1, width=32, head_dim=32, mlp_ratio=0),))
        for mixer in ("attention", "identity")
    )
    macs = [cost(a, image_size=512, num_classes=10).macs for a in (with_block, without)]
    n = 128**2
    assert macs[0] - macs[1] == 4 * n * 32**2 + 2 * n**2 * 32


def test_a_search_weighs_limits_and_writes_down_a_cost_at_another_size(finished):
    search, root = finished("objectives=[accuracy, macs@512]", "constraints.macs={at: 512, max: 4G}")
    assert search.sizes == {"macs@512": 512} and search.constraints.limits["macs@512"].max == 4_000_000_000
    trials = load(root)
    for _, row in trials[trials["state"] == "complete"].iterrows():
        assert row["macs@512"] == cost(row["architecture"], image_size=512, num_classes=10).macs <= 4e9
    assert read_run(root)[1].sizes == search.sizes
    assert "accuracy against MACs at 512 px" in text_of(show_front, (root,))
    assert "MACs 512 px, feasible" in text_of(show_space, search)


def test_a_run_that_did_not_count_there_is_counted_when_it_is_shown(finished):
    _, root = finished()
    text = text_of(show_front, (root,), dense=True)
    assert "accuracy against MACs at 512 px" in text and "left out" not in text
    assert "activation memory" in text_of(show_front, (root,), x="activation_bytes@384")


def test_networks_of_one_size_are_left_out_of_a_front_for_dense_tasks_and_named(finished):
    _, root = finished("space.stages.3.mixer=[attention, random, spatial_fc]", "search.trials=12")
    trials = load(root).query("state == 'complete' and within_limits")
    bound = trials[trials["stage3_mixer"] != "attention"]["trial"].tolist()
    assert 0 < len(bound) < len(trials)
    text = text_of(show_front, (root,), dense=True)
    assert f"left out, because they fit one image size: trials {bound[0]}" in text


def test_a_front_of_networks_of_one_size_alone_is_refused(finished):
    _, root = finished("space.stages.3.mixer=random")
    with pytest.raises(NasError, match=r"no network is left, because they fit one image size. Leave --for or --x out"):
        show_front((root,), Console(quiet=True), dense=True)


@pytest.mark.parametrize("name", ["macs@512", "activation_bytes@1024"])
def test_such_a_cost_is_called_by_its_size(name):
    assert size_in(name) == int(name.partition("@")[2]) and f" at {size_in(name)} px" in cost_kind(name).label


@pytest.mark.parametrize(
    "name", ["params@512", "macs@", "macs@0", "macs@-1", "macs@05", "macs@5e2", "macs@512px", "macs@1000000", "latency_ms@512"]
)
def test_other_names_are_no_costs_at_a_size(name):
    assert size_in(name) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["constraints.params={at: 512, max: 8G}"], "constraints.params.at: is for macs and activation_bytes"),
        (["constraints.macs={at: 0, max: 8G}"], "constraints.macs.at"),
        (["constraints.macs={at: 512.5, max: 8G}"], "constraints.macs.at"),
        (["constraints.macs={at: yes, max: 8G}"], "constraints.macs.at"),
        (["constraints.macs={at: 2, max: 8G}"], "constraints.macs.at: an image of 2 px is too small"),
        (["objectives=[accuracy, macs@2]"], "objectives: an image of 2 px is too small"),
        (["objectives=[accuracy, params@512]"], "unknown objective 'params@512'"),
        (["objectives=[accuracy, macs@512, macs@512]"], "one or two different costs"),
    ],
)
def test_what_can_not_be_meant_is_refused_with_its_place(tiny, settings, message):
    with pytest.raises(ConfigError, match=message):
        tiny(*ANY_SIZE, *settings)


def test_a_size_without_a_limit_is_refused(tiny):
    with pytest.raises(ConfigError, match=r"macs.at: needs a limit beside it"):
        tiny(*ANY_SIZE, "constraints={macs: {at: 512, max: null}}")


@pytest.mark.parametrize("setting", ["objectives=[accuracy, macs@512]", "constraints.macs={at: 512, max: 8G}"])
@pytest.mark.parametrize("bound", ["space.stages.3.mixer=[attention, random]", "space.stages.2.position_embedding=true"])
def test_a_space_whose_networks_fit_one_size_is_not_counted_at_another(tiny, setting, bound):
    with pytest.raises(ConfigError, match="can't be 512 px where stages may mix by random or spatial_fc or embed positions"):
        tiny(*ANY_SIZE, setting, bound)


def test_a_limit_that_nothing_meets_says_at_which_size(tiny):
    with pytest.raises(Infeasible, match=r"constraints\.macs asks for max 1,000 at 512 px; the space reaches"):
        check_possible(tiny(*ANY_SIZE, "constraints.macs={at: 512, max: 1k}"))


def test_a_setting_of_all_stages_that_no_stage_takes_is_told(tiny):
    everywhere = {"space.all_stages.mixer=pool"}
    own = {f"space.stages.{number}.mixer=[pool, conv]" for number in tiny().space.stages}
    assert "space.all_stages.mixer has no effect: every stage has its own" in text_of(show_space, tiny(*everywhere, *own))
    assert "has no effect" not in text_of(show_space, tiny())
