"""A search among others: what they trained is answered, costs nothing, and changes nothing of how a killed one goes on."""

import shutil

import pytest

from nas.results.front import load
from nas.run.attempts import time_spent
from nas.run.cache import ResultCache, kept_files, results_folder, way_of_training
from nas.run.folder import open_folder
from nas.run.front import front_records
from nas.run.reading import read
from nas.search.study import Study
from tests.studies import accuracy_of, epoch, finish_all, finish_next, told


@pytest.fixture
def study_in(tmp_path):
    def open_(name: str, search) -> Study:
        folder = open_folder(tmp_path / name, search)
        return Study(search, folder, manifest_hash="feed", shared=ResultCache(search, folder, manifest_hash="feed"))

    return open_


def states(study: Study) -> list[str]:
    return [record.state for record in study.records]


def test_what_another_run_trained_is_answered_and_costs_neither_budget_nor_time(study_in, tiny, tmp_path):
    first = study_in("first", tiny("search.trials=5"))
    finish_all(first)
    second = study_in("second", tiny("search.trials=5"))
    heard = []
    assert second.propose(on_answer=lambda: heard.append(second.records[-1].number)).number == 5
    assert heard == [0, 1, 2, 3, 4]
    assert states(second) == ["answered"] * 5 + ["running"]
    assert [r.accuracy for r in second.records[:5]] == [r.accuracy for r in first.records]
    assert [r.curve for r in second.records[:5]] == [r.curve for r in first.records]
    assert [str(r.source) for r in second.records[:5]] == [f"{tmp_path / 'first'}:{n}" for n in range(5)]
    assert second.num_started == 1
    assert time_spent(second.records[:5]).seconds == 0


def test_results_learnt_from_one_teacher_are_shared_wherever_it_lies_and_from_another_are_not(tiny):
    def way(where: str, digest: str) -> dict:
        taught = f"proxy.distillation={{teacher: {where}, digest: {digest}}}"
        return way_of_training(tiny(taught), manifest_hash="feed")

    one, other = "0123456789abcdef", "f" * 16
    assert way("here", one) == way("there", one) != way("here", other)


def test_an_answer_of_another_run_can_stand_on_the_front_and_is_read_again(study_in, tiny, tmp_path):
    finish_all(study_in("first", tiny("search.trials=5")))
    search = tiny("search.trials=5")
    second = study_in("second", search)
    finish_all(second)
    second.close()
    records = read(tmp_path / "second").trials
    assert [(r.number, r.source, r.accuracy) for r in records] == [(r.number, r.source, r.accuracy) for r in second.records]
    best = {r.number for r in front_records(records, search)}
    alone = {r.number for r in front_records(study_in("first", search).records, search)}
    assert alone & best
    trials = load(tmp_path / "second")
    assert list(trials["source"].notna()) == [True] * 5 + [False] * 5
    assert trials["seconds"][:5].sum() == 0


@pytest.mark.thorough
def test_a_baseline_is_answered_too(study_in, tiny):
    search = tiny("baselines=[poolformer_s12]", "search.trials=1")
    finish_all(study_in("first", search))
    second = study_in("second", search)
    finish_all(second)
    assert (second.records[0].baseline, second.records[0].state) == ("poolformer_s12", "answered")


def test_an_equal_proposal_after_an_answer_is_answered_from_the_record(study_in, tiny):
    finish_all(study_in("first", tiny("search.trials=2")))
    second = study_in("second", tiny("search.trials=2"))
    second._study.enqueue_trial(second.search.space.choices(study_in("first", second.search).records[0].architecture))
    second._study.enqueue_trial(second.search.space.choices(study_in("first", second.search).records[0].architecture))
    second.propose()
    assert [(r.state, r.answered_from, r.source is None) for r in second.records[:2]] == [
        ("answered", None, False),
        ("answered", 0, True),
    ]


def test_with_the_cache_off_nothing_is_answered_and_nothing_kept(opened, tiny):
    finish_all(opened(tiny("search.trials=3")))
    assert not results_folder().exists()


def test_failed_and_stopped_trainings_are_not_shared(study_in, tiny):
    study = study_in("first", tiny("search.trials=2"))
    study.fail(study.propose().number, cause="diverged")
    study.report(study.propose().number, epoch(1))
    study.stop(1)
    assert list(kept_files(results_folder())) == []


def test_a_result_of_other_versions_than_its_trial_began_with_is_not_shared(study_in, tiny, monkeypatch):
    study = study_in("first", tiny("search.trials=1"))
    proposal = study.propose()
    monkeypatch.setattr("nas.search.study.versions", lambda: {"torch": "another"})
    study.report(proposal.number, epoch(1))
    study.finish(proposal.number, accuracy=0.5, seconds=1.0)
    assert list(kept_files(results_folder())) == []


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", ["tpe", "front"])
def test_a_killed_search_goes_on_with_the_same_answers_as_an_unkilled_one(study_in, tiny, monkeypatch, tmp_path, sampler):
    search = tiny("search.trials=8", f"search.sampler={sampler}")
    monkeypatch.setenv("NAS_RESULTS", str(tmp_path / "shared"))
    finish_all(study_in("before", tiny("search.trials=6", f"search.sampler={sampler}")))
    shutil.copytree(tmp_path / "shared", tmp_path / "copy")
    unkilled = study_in("whole", search)
    finish_all(unkilled)
    monkeypatch.setenv("NAS_RESULTS", str(tmp_path / "copy"))
    for _ in range(8):  # a new driver for each proposal, killed once while it trained
        interrupted = study_in("killed", search).propose()
        again = study_in("killed", search)
        assert again.propose() == interrupted
        again.report(interrupted.number, epoch(1, accuracy_of(interrupted.architecture)))
        again.finish(interrupted.number, accuracy=accuracy_of(interrupted.architecture), seconds=1.0)
    assert told(study_in("killed", search)) == told(unkilled)
    assert states(unkilled).count("answered") >= 6


def test_a_driver_killed_between_sharing_a_result_and_putting_it_down_trains_it_to_the_same_end(study_in, tiny, monkeypatch):
    study = study_in("first", tiny("search.trials=1"))
    proposal = study.propose()
    study.begin(proposal.number, host="here")
    study.report(proposal.number, epoch(1))
    monkeypatch.setattr(study._records, "tell", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        study.finish(proposal.number, accuracy=0.5, seconds=1.0)
    again = study_in("first", tiny("search.trials=1"))
    assert again.propose().number == proposal.number
    again.finish(proposal.number, accuracy=0.5, seconds=1.0)
    assert states(again) == ["complete"]


@pytest.mark.thorough
def test_two_searches_at_once_never_train_what_the_other_has_finished(study_in, tiny):
    first = study_in("first", tiny("search.trials=12", "search.sampler=random"))
    second = study_in("second", tiny("search.trials=12", "search.sampler=random"))
    while None not in (finish_next(first), finish_next(second)):
        pass
    trained = [r.key for study in (first, second) for r in study.records if r.state == "complete"]
    assert len(trained) == len(set(trained))
    assert "answered" in states(second)
