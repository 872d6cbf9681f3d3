"""Every entry of the tables that users extend is known to everything that has to know it: a forgotten place fails here.

The entries are read from the tables, so that a new one is tried without a word being added to this file.
"""

import json
import math
import re
from typing import get_args

import pandas as pd
import pytest
import torch
from optuna.trial import TrialState as OptunaState
from rich.console import Console

from nas.calibration.analysis import resolutions
from nas.config.text import parse_yaml
from nas.config.values import validated
from nas.devices.conditions import Conditions
from nas.devices.measure import measure
from nas.export.directory import Description, drafted, write_export
from nas.export.proof import prove
from nas.models.metaformer import build
from nas.models.mixers import mixer_class
from nas.models.reparam import merge
from nas.recipes.recipe import Proxy
from nas.report.figures import front_figure, mixer_figure, pattern_figure
from nas.report.importance import by_stage_and_mixer, effects
from nas.report.page import page_style
from nas.report.terminal import show_front
from nas.results.columns import COLUMNS, axis_label
from nas.results.front import load
from nas.results.standing import standing
from nas.run.dry_run import show_cost, show_space
from nas.run.folder import open_folder
from nas.run.record import TRAINED, TrialState
from nas.run.settings.search import Search
from nas.run.settings.sections import SAMPLERS
from nas.search.study import Study
from nas.space.activations import ACTIVATIONS
from nas.space.architecture import Architecture, Stage
from nas.space.constraints import Constraints
from nas.space.cost import cost
from nas.space.costs import COSTS, COUNTED, FORETOLD, Cost
from nas.space.mixers import MIXERS, OPTIONS
from nas.space.norms import NORMS
from nas.training.optimizer import optimizer
from tests.studies import epoch, finish_all

SIZE, CLASSES = 32, 3
KINDS = [
    *(("mixer", name) for name in MIXERS),
    *(("norm", name) for name in NORMS),
    *(("activation", name) for name in ACTIVATIONS),
    *(("mlp", name) for name in get_args(Stage.model_fields["mlp"].annotation)),
    ("se_ratio", 0.25),
]
BLOCK_WITH_ALL = {"norm_bias": True, "layer_scale": 0.1, "res_scale": True}  # what a block can be given besides


def network(kind: str, name: str) -> Architecture:
    """Two stages, of which the second is of that mixer, norm or activation; the first one's blocks have a common mixer."""
    options = {"head_dim": 8} if kind == "mixer" and "head_dim" in MIXERS[name].options else {}
    second = {"mixer": "conv", "width": 16, "depth": 1, "norm": "group", **BLOCK_WITH_ALL, **options, kind: name}
    return Architecture(stages=(Stage(mixer="pool", width=8, depth=1, norm="batch"), Stage(**second)), stem_stride=2)


def built(architecture: Architecture) -> torch.nn.Module:
    torch.manual_seed(0)
    return build(architecture, image_size=SIZE, num_classes=CLASSES).eval()


@pytest.fixture(scope="module")
def proofs(tmp_path_factory):
    """For each mixer, norm and activation what a fresh process without this package makes of its export."""
    expected = {}
    for kind, name in KINDS:
        architecture = network(kind, name)
        description = Description(None, (0.5,) * 3, (0.5,) * 3, {})
        state = built(architecture).state_dict()
        export = drafted(architecture, state, description, image_size=SIZE, num_classes=CLASSES)
        folder = tmp_path_factory.mktemp(f"{kind}-{name}")
        write_export(export, folder)
        expected[folder] = export.logits
    return dict(zip(KINDS, prove(expected), strict=True))


@pytest.mark.parametrize("kind, name", KINDS)
def test_a_stage_is_built_as_it_is_counted(kind, name):
    architecture = network(kind, name)
    counted, parameters = cost(architecture, image_size=SIZE, num_classes=CLASSES), list(built(architecture).parameters())
    assert counted.params == sum(p.numel() for p in parameters if p.requires_grad)
    assert counted.frozen_params == sum(p.numel() for p in parameters if not p.requires_grad)


@pytest.mark.parametrize("kind, name", KINDS)
def test_a_stage_is_a_value_that_goes_to_json_and_back_and_is_described(kind, name):
    architecture = network(kind, name)
    text = json.dumps(architecture.to_dict())
    assert validated(Architecture, parse_yaml(text, where="text"), where="text") == architecture
    if kind == "mixer":
        assert architecture.describe().split()[1] == f"{MIXERS[name].letter}1·16"


@pytest.mark.thorough
@pytest.mark.parametrize("kind, name", KINDS)
def test_an_export_computes_the_same_in_a_process_without_this_package(proofs, kind, name):
    proof = proofs[kind, name]
    assert (proof.error, proof.difference) == (None, 0.0)


@pytest.mark.parametrize("name", MIXERS)
def test_a_mixer_has_a_letter_of_its_own_and_its_options_are_settings_of_a_stage(name):
    letters = [mixer.letter for mixer in MIXERS.values()]
    assert letters.count(MIXERS[name].letter) == 1 and MIXERS[name].letter.isupper()
    assert set(MIXERS[name].options) <= set(Stage.model_fields)
    assert issubclass(mixer_class(name), torch.nn.Module)


@pytest.mark.parametrize("name", [name for name, mixer in MIXERS.items() if mixer.merges_into])
def test_a_mixer_that_merges_leaves_the_one_it_names_and_computes_the_same(name):
    architecture = network("mixer", name)
    model, images = built(architecture), torch.rand(2, 3, SIZE, SIZE)
    merged, after = merge(model, architecture)
    assert after.stages[1].mixer == MIXERS[name].merges_into
    torch.testing.assert_close(merged(images), model(images))


@pytest.mark.parametrize("name", MIXERS)
def test_weights_that_belong_to_positions_are_those_of_mixers_that_say_so(name):
    small, large = (build(network("mixer", name), image_size=s, num_classes=CLASSES).state_dict() for s in (SIZE, 2 * SIZE))
    differing = {key.partition(".token_mixer.")[2] for key in small if small[key].shape != large[key].shape}
    assert differing == set(MIXERS[name].position_weights)


@pytest.mark.parametrize("name", MIXERS)
def test_a_mixers_own_learning_rate_reaches_its_blocks(name):
    groups = optimizer(built(network("mixer", name)), Proxy(mixer_lr={name: 0.5})).param_groups
    assert {0.5} <= {group["lr_scale"] for group in groups}


@pytest.fixture(scope="module")
def run_with_every_mixer(tmp_path_factory):
    """A finished run whose last stage had each mixer, with a made-up accuracy."""
    root = tmp_path_factory.mktemp("mixers") / "run"
    last = {"mixer": list(MIXERS), "width": 16, "depth": 1, "head_dim": 8}
    stages = {1: {"mixer": "pool", "width": 8, "depth": [1, 2, 3]}, 2: last}
    space = {"image_size": SIZE, "num_classes": CLASSES, "stem_stride": 2, "stages": stages}
    search = validated(Search, {"name": "mixers", "space": space, "search": {"trials": 24, "sampler": "random"}}, where="test")
    finish_all(Study(search, open_folder(root, search), manifest_hash="feed"))
    return root, search


def test_every_mixer_is_drawn_shown_and_rated(run_with_every_mixer):
    root, search = run_with_every_mixer
    trials = load(root)
    assert set(trials["stage2_mixer"]) == set(MIXERS)
    assert {f"stage2_{option}" for option in OPTIONS} <= set(trials.columns)
    shown = pattern_figure(trials)["data"][0]
    assert shown["colorbar"]["ticktext"] == list(MIXERS)
    letters = {cell[0] for row in shown["text"] for cell in row}
    assert letters == {mixer.letter for mixer in MIXERS.values()}
    rated = by_stage_and_mixer(trials, search)
    assert set(rated[rated["stage"] == 2]["mixer"]) == set(MIXERS)
    assert set(mixer_figure(rated)["data"][0]["y"]) == set(MIXERS)
    table = effects(trials, search)
    assert set(table[table["axis"] == "stage2.mixer"]["option"]) == set(MIXERS)


def test_the_page_has_a_colour_for_every_mixer(run_with_every_mixer):
    assert all(f"--mixer-{name}:" in page_style() for name in MIXERS)


def test_every_mixer_is_ranked_by_a_check_of_resolutions():
    names = [f"{mixer}{i}" for mixer in MIXERS for i in range(4)]
    rows = [(fidelity, name, 0, i / 99, 1.0) for fidelity in ("small", "large") for i, name in enumerate(names)]
    trainings = pd.DataFrame(rows, columns=["fidelity", "name", "seed", "accuracy", "seconds"])
    recipes = {"small": Proxy(image_size=32), "large": Proxy(image_size=48)}
    (check,) = resolutions(trainings, recipes, {name: {name[:-1]} for name in names})
    assert list(check.ranks.index) == list(MIXERS)


def test_latencies_are_measured_of_every_mixer():
    networks = {name: built(network("mixer", name)) for name in MIXERS}
    measured = measure(networks, Conditions(image_size=SIZE, batch=1, repeats=2, warm_up=0))
    assert [latency.name for latency in measured] == list(MIXERS)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("costs") / "run"
    stages = {1: {"mixer": ["pool", "conv"], "width": [8, 16], "depth": 1}, 2: {"mixer": "conv", "width": [16, 32], "depth": 1}}
    space = {"image_size": SIZE, "num_classes": CLASSES, "stages": stages}
    search = validated(Search, {"name": "costs", "space": space, "search": {"trials": 6, "sampler": "random"}}, where="test")
    finish_all(Study(search, open_folder(root, search), manifest_hash="feed"))
    return root, search


@pytest.mark.thorough
@pytest.mark.parametrize("name", COUNTED)
def test_a_cost_in_closed_form_is_counted_limited_searched_and_shown(finished_run, name, tmp_path, capsys):
    root, search = finished_run
    assert name in Cost._fields and name in Constraints.model_fields
    other = search.model_copy(update={"objectives": ("accuracy", name), "constraints": Constraints(**{name: {"max": 10**12}})})
    assert len(finish_all(Study(other, open_folder(tmp_path / "run", other), manifest_hash="feed"))) == 6
    show_space(other, Console(width=200))
    show_front((root,), Console(width=200), x=name)
    text = capsys.readouterr().out
    assert f"{COSTS[name].heading}, feasible" in text and f"accuracy against {COSTS[name].label}" in text
    architecture = network("mixer", "conv")
    counted = cost(architecture, image_size=SIZE, num_classes=CLASSES)
    show_cost("mine", architecture, image_size=SIZE, counted=counted, console=Console(width=200))
    assert COSTS[name].heading in capsys.readouterr().out


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_is_a_column_with_a_label_and_is_written(finished_run, name):
    root, _ = finished_run
    assert name in COLUMNS and axis_label(name) == COSTS[name].label
    assert COSTS[name].write(1234.0)
    trials = load(root)
    trials["latency_ms"] = trials["latency_int8_ms"] = 5.0
    figure = front_figure(standing(trials, (name,)))
    assert figure["layout"]["xaxis"]["title"]["text"] == COSTS[name].label


def test_no_limit_is_of_a_cost_that_is_not_in_the_table():
    assert set(Constraints.model_fields) == {*COUNTED, *FORETOLD}


@pytest.mark.thorough
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_keeps_nothing_from_one_question_to_the_next(tiny, tmp_path, name):
    """Asked by one study, or by studies that are opened anew for each question, it proposes the same."""
    search = tiny("search.trials=20", f"search.sampler={name}", "proxy.rungs=[]")

    def study_in(folder: str) -> Study:
        return Study(search, open_folder(tmp_path / folder, search), manifest_hash="feed")

    def train_next(study: Study) -> str:
        number, architecture = study.propose()
        study.report(number, epoch(1, math.tanh(architecture.stages[0].width)))
        study.finish(number, accuracy=int(architecture.key[:6], 16) / 16**6, seconds=1.0)
        return architecture.key

    one = study_in("one")
    assert [train_next(one) for _ in range(20)] == [train_next(study_in("each")) for _ in range(20)]


ENDS = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.STOPPED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.PRUNED,
    TrialState.REJECTED: OptunaState.PRUNED,
    TrialState.ANSWERED: OptunaState.COMPLETE,
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.PAUSED: OptunaState.RUNNING,
}


@pytest.mark.thorough
@pytest.mark.parametrize("state", TrialState)
def test_a_state_has_words_and_stands_in_optuna_and_in_the_table_as_what_it_is(tiny, tmp_path, state):
    search = tiny("constraints.macs.max=1M", "search.trials=30", "search.sampler=random")
    study = Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")
    ends = [study.propose().number for _ in range(5)]
    study.finish(ends[0], accuracy=0.5, seconds=1.0)
    study.report(ends[1], epoch(1, 0.5))
    study.stop(ends[1])
    study.fail(ends[2], cause="the loss was nan")
    study.report(ends[3], epoch(1, 0.5))
    study._study.enqueue_trial(search.space.choices(study.records[ends[0]].architecture))
    while not any(record.state == TrialState.REJECTED for record in study.records):
        study.propose()
    study.propose()
    record = next(record for record in study.records if record.state == state)
    assert state.words and study._study.trials[record.number].state == ENDS[state]
    assert record.had_its_chance == (state in TRAINED)
    if state != TrialState.REJECTED:
        assert load(tmp_path / "run").set_index("trial").loc[record.number, "state"] == state


def test_further_blocks_are_drawn_shown_and_rated(tmp_path, capsys):
    last = {"mixer": "conv", "width": 16, "depth": 1, "mlp": ["plain", "conv"], "se_ratio": [0, 0.25]}
    space = {"image_size": SIZE, "num_classes": CLASSES, "stem_steps": [1, 2], "stem_stride": 2, "stages": {1: last}}
    search = validated(Search, {"name": "further", "space": space, "search": {"trials": 8, "sampler": "random"}}, where="test")
    finish_all(Study(search, open_folder(tmp_path, search), manifest_hash="feed"))
    trials = load(tmp_path)
    shown = set(zip(trials["stage1_mlp"], trials["stage1_se_ratio"], trials["stem_steps"], strict=True))
    assert shown == {(mlp, ratio, steps) for mlp in ("plain", "conv") for ratio in (0.0, 0.25) for steps in (1, 2)}
    assert set(trials["stages"]) == {"C1·16", "C1·16+c", "C1·16+s", "C1·16+cs"}
    table = effects(trials, search)
    assert set(table["axis"]) == {"stem_steps", "stage1.mlp", "stage1.se_ratio"} and (table["trials"] == 4).all()
    show_front((tmp_path,), Console(width=200))
    assert re.search(r"C conv, \+[cs] ", capsys.readouterr().out)
