"""A search that was killed, whose workers died or whose money was spent: what goes on, and how."""

import optuna
import pytest

from nas.run.folder import open_folder
from nas.search.study import Study
from nas.space.reference import design
from tests.studies import accuracy_of, epoch, finish_all, told


@pytest.mark.thorough
@pytest.mark.parametrize("sampler", ["tpe", "front"])
def test_a_killed_search_trains_what_ran_again_under_its_old_number_and_asks_what_an_unkilled_one_would(
    tiny, tmp_path, sampler
):
    search = tiny("search.trials=10", f"search.sampler={sampler}")

    def study_in(name: str) -> Study:
        return Study(search, open_folder(tmp_path / name, search), manifest_hash="feed")

    unkilled = study_in("whole")
    finish_all(unkilled)
    for _ in range(10):  # a new driver for each proposal, killed once while it trained
        killed = study_in("killed")
        interrupted = killed.propose()
        again = study_in("killed")
        assert again.propose() == interrupted
        again.report(interrupted.number, epoch(1, accuracy_of(interrupted.architecture)))
        again.finish(interrupted.number, accuracy=accuracy_of(interrupted.architecture), seconds=1.0)
    assert told(study_in("killed")) == told(unkilled)


@pytest.mark.thorough
def test_a_driver_killed_between_putting_a_result_down_and_telling_it_loses_nothing(opened, tiny, monkeypatch):
    study = opened(tiny("search.trials=1"))
    proposal = study.propose()
    monkeypatch.setattr(study._study, "tell", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        study.finish(proposal.number, accuracy=0.75, seconds=2.0)
    again = opened(tiny("search.trials=1"))
    assert not again.has_work
    assert again.records[0].accuracy == 0.75
    assert again._study.trials[0].values == [0.75, float(again.records[0].cost.macs)]


def test_a_driver_killed_inside_ask_leaves_no_trial(opened, tiny):
    study = opened(tiny("search.trials=1"))
    study._study.ask()
    again = opened(tiny("search.trials=1"))
    assert again.records == []
    assert finish_all(again) == [0]


def test_a_baseline_that_was_lost_inside_ask_is_asked_again(opened, tiny):
    search = tiny("baselines=[poolformer_s12]", "search.start=[caformer_s18]", "search.trials=1")
    study = opened(search)
    study._study.ask()
    study._study.ask()
    again = opened(search)
    assert again.propose().architecture == design("poolformer_s12")
    second = again.propose()
    assert again.records[second.number].start == "caformer_s18"


def _killed_at(state: str, study: Study, monkeypatch) -> None:
    """Goes on with a search until it would put down that a proposal is of this state."""
    tell = study._records.tell

    def killed(number, **facts):
        if facts["state"] == state:
            raise KeyboardInterrupt
        tell(number, **facts)

    monkeypatch.setattr(study._records, "tell", killed)
    with pytest.raises(KeyboardInterrupt):
        finish_all(study)


def test_a_driver_killed_before_it_answered_a_queued_proposal_does_not_train_it(opened, tiny, monkeypatch):
    study = opened(tiny("search.trials=100", "search.sampler=random"))
    first = study.propose()
    study.finish(first.number, accuracy=0.5, seconds=1.0)
    study._study.enqueue_trial(study.search.space.choices(first.architecture))
    _killed_at("answered", study, monkeypatch)
    number = study.records[-1].number
    again = opened(study.search)
    assert again.records[number].state == "answered"
    assert again.propose().number > number


def test_a_driver_killed_before_it_turned_a_proposal_down_turns_it_down(opened, tiny, monkeypatch):
    study = opened(tiny("constraints.macs.max=1M", "search.trials=100", "search.sampler=random"))
    _killed_at("rejected", study, monkeypatch)
    *before, rejected = study.records
    again = opened(study.search)
    assert [r.number for r in again.records] == [r.number for r in before]
    again.propose()
    assert again.records[rejected.number].key == rejected.key
    assert again.records[rejected.number].state == "rejected"


def test_a_failure_of_the_machine_is_told_as_failed_and_not_as_a_bad_score(opened, tiny):
    study = opened(tiny())
    number = study.propose().number
    study.fail(number, cause="the worker died 3 times", machine=True)
    assert study._study.trials[number].state == optuna.trial.TrialState.FAIL


def test_a_failure_of_the_machine_costs_no_budget_and_the_architecture_may_come_again_once(opened, tiny):
    study = opened(tiny("search.trials=1"))
    first = study.propose()
    study.fail(first.number, cause="the worker died 3 times", machine=True)
    study._study.enqueue_trial(study.search.space.choices(first.architecture))
    again = study.propose()
    assert again.architecture == first.architecture
    study.fail(again.number, cause="the worker died 3 times", machine=True)
    study._study.enqueue_trial(study.search.space.choices(first.architecture))
    assert study.propose().architecture != first.architecture
    assert study.records[again.number + 1].state == "answered"


def test_a_lost_worker_is_replaced_until_that_happened_too_often(opened, tiny):
    study = opened(tiny())
    number = study.propose().number
    for host in ("a", "b"):
        study.begin(number, host=host)
        study.lose(number, cause="node lost")
        assert study.propose().number == number
    study.begin(number, host="c")
    study.lose(number, cause="node lost")
    record = study.records[number]
    assert (record.state, record.cause) == ("failed", "the worker died 3 times: node lost")
    assert [attempt.host for attempt in record.attempts] == ["a", "b", "c"]


def test_lost_workers_count_across_a_killed_driver_whose_own_death_does_not(opened, tiny):
    study = opened(tiny())
    number = study.propose().number
    study.begin(number, host="a")
    study.lose(number, cause="node lost")
    study.propose()
    study.begin(number, host="b")
    again = opened(tiny())
    assert again.propose().number == number
    again.begin(number, host="c")
    again.lose(number, cause="node lost")
    assert again.records[number].state == "running"
    causes = [attempt.cause for attempt in again.records[number].attempts]
    assert causes == ["node lost", "the driver was killed or stopped", "node lost"]


def test_epochs_that_a_checkpoint_holds_are_not_lost_and_the_others_count_as_repeated(opened, tiny):
    study = opened(tiny("proxy.epochs=4"))
    number = study.propose().number
    study.begin(number, host="a")
    for i in (1, 2, 3):
        study.report(number, epoch(i))
    study.lose(number, cause="node lost")
    for _ in range(2):  # the second time without a new epoch in between
        study.begin(number, host="b", curve=[epoch(1), epoch(2)])
        assert study.records[number].repeated == 2.0
        study = opened(study.search)
    study.begin(number, host="b", curve=[epoch(i) for i in (1, 2, 3, 4)])
    record = study.records[number]
    assert ([e.epoch for e in record.curve], record.repeated) == ([1, 2, 3, 4], 2.0)


def test_what_a_rung_let_pass_stays_passed_when_it_is_trained_again(opened, tiny, monkeypatch):
    monkeypatch.setattr("nas.search.rungs.FEWEST_WHOLE", 1)
    study = opened(tiny("search.trials=2", "baselines=[]"))
    number = study.propose().number
    assert not study.report(number, epoch(1, 0.1))
    study.finish(study.propose().number, accuracy=0.5, seconds=1.0)
    assert study.propose().number == number
    study = opened(study.search)
    assert study.propose().number == number
    assert study.begin(number, host="a", curve=[epoch(1, 0.1)])
    assert study.report(number, epoch(1, 0.1))


def test_a_rung_that_a_kill_left_unnoticed_is_noticed_when_the_trial_goes_on(opened, tiny):
    search = tiny("search.trials=20", "baselines=[]")
    number = opened(search).propose().number
    study = opened(search)
    assert not study.begin(number, host="a", curve=[epoch(1, 0.1)])
    assert study.records[number].state == "paused"


def test_money_ends_a_search_and_more_of_it_lets_it_go_on(opened, tiny):
    gpu = ("search.trials=20", "resources.gpu=0.5")
    study = opened(tiny(*gpu, "search.max_gpu_hours=1"))
    for _ in range(2):
        number = study.propose().number
        study.begin(number, host="a")
        study.report(number, epoch(1))
        study.finish(number, accuracy=0.5, seconds=3600.0)
    assert study.propose() is None and not study.has_work
    assert study.limit == "search.max_gpu_hours=1 (1.00 GPU-hours used)"
    assert opened(tiny(*gpu, "search.max_gpu_hours=2")).propose() is not None
