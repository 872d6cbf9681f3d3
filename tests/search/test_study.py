"""A whole search without a training: what is asked, trained, answered and told."""

import optuna
import pytest

from nas.errors import NasError
from nas.run.folder import open_folder
from nas.run.front import front_records
from nas.run.reading import read
from nas.run.record import Reasons, TrialState
from nas.run.settings.search import check_possible
from nas.run.settings.sections import SAMPLERS
from nas.search.study import Study
from nas.space.reference import design
from nas.space.search_space import SearchSpace
from tests.studies import epoch, finish_all, finish_next


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_search_trains_its_budget_once_each_and_within_the_constraints(opened, tiny, sampler):
    search = tiny("search.trials=20", f"search.sampler={sampler}")
    study = opened(search)
    assert len(finish_all(study)) == 20
    trained = [r for r in study.records if r.state == "complete"]
    assert len({r.key for r in trained}) == 20
    assert all(search.constraints.allow(r.cost) for r in trained)
    assert not study.has_work


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_date_will_do_as_a_seed(opened, tiny, sampler):
    assert opened(tiny(f"search.sampler={sampler}", "search.seed=20261123")).propose() is not None


def test_what_is_told_can_be_read_by_another_process_while_the_search_runs(opened, tiny, tmp_path):
    study = opened(tiny())
    finish_next(study)
    running = study.propose()
    records = read(tmp_path / "run").trials
    assert [r.state for r in records] == ["complete", "running"]
    assert records[1].architecture == running.architecture
    assert records[0].manifest == "feed"
    assert records[0].versions["optuna"] == optuna.__version__


def test_baselines_are_trained_first_and_do_not_count_as_budget(opened, tiny):
    study = opened(tiny("baselines=[poolformer_s12]", "search.trials=2"))
    assert study.propose().architecture == design("poolformer_s12")
    study.finish(0, accuracy=0.5, seconds=1.0)
    assert len(finish_all(study)) == 2
    assert [r.baseline for r in study.records if r.state == "complete"] == ["poolformer_s12", None, None]


def test_start_points_are_the_nearest_affordable_architectures_to_the_designs(opened, tiny):
    study = opened(tiny("search.start=[caformer_s18, poolformer_s12]", "search.trials=4", "constraints.macs.max=6M"))
    first, second = study.propose(), study.propose()
    assert [s.mixer for s in first.architecture.stages] == ["conv", "conv", "attention"]
    assert [s.mixer for s in second.architecture.stages][:2] == ["pool", "pool"]
    assert all(study.search.constraints.allow(study.search.space.cost(p.architecture)) for p in (first, second))
    assert [r.start for r in study.records] == ["caformer_s18", "poolformer_s12"]


def test_a_duplicate_is_answered_from_the_record_and_never_trained_twice(opened, tiny):
    study = opened(tiny("search.trials=3"))
    number = finish_next(study)
    first = study.records[number]
    study._study.enqueue_trial(study.search.space.choices(first.architecture))
    second = finish_next(study)
    answered = study.records[number + 1]
    assert (answered.state, answered.answered_from, answered.accuracy) == ("answered", number, first.accuracy)
    assert study.records[second].key != first.key


def test_an_architecture_that_is_being_trained_is_not_proposed_again(opened, tiny):
    study = opened(tiny("search.trials=3"))
    running = study.propose()
    study._study.enqueue_trial(study.search.space.choices(running.architecture))
    assert study.propose().architecture != running.architecture
    assert study.records[running.number + 1].cause == f"trial {running.number} is training it"


def test_a_proposal_outside_the_constraints_is_counted_and_never_trained(opened, tiny):
    study = opened(tiny("constraints.macs.max=0.6M", "search.trials=4", "search.sampler=random"))
    finish_all(study)
    rejected = [r for r in study.records if r.state == "rejected"]
    assert rejected and all("macs" in r.cause for r in rejected)
    assert all(r.cost.macs <= 600_000 for r in study.records if r.state == "complete")


def test_a_space_that_is_used_up_ends_the_search(opened, tiny):
    search = tiny("search.trials=50")
    small = {"image_size": 32, "num_classes": 10, "stages": {1: {"mixer": ["pool", "identity"], "width": 8, "depth": [1, 2]}}}
    study = opened(search.model_copy(update={"space": SearchSpace.model_validate(small)}))
    assert len(finish_all(study)) == 4
    assert study.exhausted


def test_a_failed_trial_keeps_its_cause_and_the_search_goes_on(opened, tiny):
    study = opened(tiny("search.trials=2"))
    study.fail(study.propose().number, cause="diverged: loss nan at epoch 1, step 3", seconds=1.0)
    assert finish_next(study) is not None
    assert not study.has_work
    failed = next(r for r in study.records if r.state == "failed")
    assert failed.cause.startswith("diverged")
    assert study._study.trials[failed.number].state == optuna.trial.TrialState.PRUNED


def test_many_failures_in_a_row_for_one_cause_end_the_search(opened, tiny):
    study = opened(tiny("search.trials=20"))
    for _ in range(5):
        study.fail(study.propose().number, cause="out of memory: 3 GB")
    with pytest.raises(NasError, match="the last 6 trials all failed, the last one so: out of memory: 4 GB"):
        study.fail(study.propose().number, cause="out of memory: 4 GB")


def test_a_stopped_trial_keeps_its_curve_and_is_never_on_the_front(opened, tiny):
    search = tiny("search.trials=2")
    study = opened(search)
    number = study.propose().number
    study.report(number, epoch(1, 0.99))
    study.stop(number)
    finish_next(study)
    stopped = study.records[number]
    assert (stopped.state, stopped.accuracy, stopped.curve[0].accuracy) == ("stopped", None, 0.99)
    assert number not in [r.number for r in front_records(study.records, search)]


def at_the_rung(study, accuracies):
    """Trials that were trained to the first rung."""
    proposals = [study.propose() for _ in accuracies]
    kept = [study.report(p.number, epoch(1, accuracy)) for p, accuracy in zip(proposals, accuracies, strict=True)]
    return [p.number for p in proposals], kept


def test_trials_wait_at_a_rung_and_in_the_end_the_best_of_them_are_trained_on(opened, tiny):
    study = opened(tiny("search.trials=12", "baselines=[]", "proxy.rungs=[1]"))
    numbers, kept = at_the_rung(study, [0.1] * 3 + [0.9] * 8)
    assert not any(kept)
    assert {study.records[n].state for n in numbers} == {"paused"}
    last = study.propose().number
    on = [last] if study.report(last, epoch(1, 0.05)) else []
    while (proposal := study.propose()) is not None:
        on.append(proposal.number)
        assert study.records[proposal.number].passed == 1
        study.finish(proposal.number, accuracy=0.9, seconds=1.0)
    assert len(on) >= 7 and not study.has_work
    study.settle()
    assert all(r.state in ("complete", "stopped") for r in study.records)
    assert {study._study.trials[r.number].state.name for r in study.records if r.state == "stopped"} == {"PRUNED"}


def test_what_waits_goes_on_waiting_in_a_study_that_is_opened_again(opened, tiny):
    search = tiny("search.trials=20", "baselines=[]", "proxy.rungs=[1]")
    numbers, _ = at_the_rung(opened(search), [0.5, 0.6])
    again = opened(search)
    assert [again.records[n].state for n in numbers] == ["paused", "paused"]
    assert again.propose().number not in numbers


def test_a_limit_leaves_waiting_what_waits(opened, tiny):
    search = tiny("search.trials=20", "baselines=[]", "proxy.rungs=[1]", "resources.gpu=1", "search.max_gpu_hours=1")
    study = opened(search)
    (number,), _ = at_the_rung(study, [0.5])
    other = study.propose().number
    study.begin(other, host="a")
    study.finish(other, accuracy=0.5, seconds=7200.0)
    study.settle()
    assert not study.has_work and study.records[number].state == "paused"


def test_of_many_that_wait_those_likeliest_to_be_beaten_are_stopped(opened, tiny, monkeypatch):
    monkeypatch.setattr("nas.search.study.MOST_AT_A_RUNG", 3)
    study = opened(tiny("search.trials=20", "baselines=[]", "proxy.rungs=[1]"))
    for i in range(20):
        study.report(study.propose().number, epoch(1, i / 20))
    for i in range(4):  # none is stopped before as many have finished
        study.finish(study.propose().number, accuracy=i / 4, seconds=1.0)
    assert not any(r.state == "stopped" for r in study.records)
    study.propose()
    assert sum(r.state == "paused" for r in study.records) <= 3


def test_references_as_a_start_are_queued_once_each(opened, tiny):
    study = opened(tiny("search.start=references", "search.trials=3"))
    finish_all(study)
    started = [r for r in study.records if r.start]
    assert started[0].start == "poolformerv2_s12"
    assert len({r.key for r in started}) == len(started) == 3


@pytest.mark.thorough
def test_three_objectives_are_searched_and_each_proposal_says_why(opened, tiny):
    study = opened(tiny("search.trials=22", "objectives=[accuracy, macs, params]"))
    finish_all(study)
    reasons = [r.why for r in study.records if r.state == "complete"]
    assert reasons[0] == Reasons(by="start")
    assert None not in (reasons[-1].by, reasons[-1].predicted, reasons[-1].spread, reasons[-1].expected_gain)


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", ["front", "evolution", "random", "tpe", "nsga2"])
def test_a_narrow_window_of_costs_is_searched_by_every_sampler(tiny, tmp_path, sampler):
    search = tiny("constraints.macs={min: 0.900M, max: 0.930M}", f"search.sampler={sampler}", "search.trials=4")
    check_possible(search)
    study = Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")
    finish_all(study)
    trained = [r for r in study.records if r.state == TrialState.COMPLETE]
    assert len(trained) == 4 and all(0.9e6 <= r.cost.macs <= 0.93e6 for r in trained)
