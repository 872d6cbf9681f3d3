"""A whole search without a training: the accuracy is made up from the key, so that it is the same wherever it is asked."""

import contextlib
import itertools
import sqlite3

import optuna
import pytest

from nas.errors import ConfigError, NasError
from nas.search.folder import open_folder, read_run
from nas.search.record import front
from nas.search.storage import read_records
from nas.search.study import Study
from nas.space.reference import design
from nas.space.search_space import SearchSpace


def accuracy_of(architecture) -> float:
    return int(architecture.key[:6], 16) / 16**6


@pytest.fixture
def opened(tmp_path):
    def open_(search) -> Study:
        return Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")

    return open_


def finish_next(study: Study) -> int | None:
    proposal = study.propose()
    if proposal is None:
        return None
    study.report(proposal.number, {"epoch": 1, "accuracy": accuracy_of(proposal.architecture)})
    study.finish(proposal.number, accuracy=accuracy_of(proposal.architecture), seconds=1.0)
    return proposal.number


def finish_all(study: Study) -> list[int]:
    return list(itertools.takewhile(lambda n: n is not None, (finish_next(study) for _ in itertools.count())))


def told(study: Study) -> list[tuple]:
    return [(r.number, r.state, r.key, r.accuracy, r.cause) for r in study.records]


@pytest.mark.parametrize("sampler", ["front", "evolution", "tpe", "nsga2", "random"])
def test_a_search_trains_its_budget_once_each_and_within_the_constraints(opened, tiny, sampler):
    search = tiny("search.trials=30", f"search.sampler={sampler}")
    study = opened(search)
    assert len(finish_all(study)) == 30
    trained = [r for r in study.records if r.state == "complete"]
    assert len({r.key for r in trained}) == 30
    assert all(search.constraints.allow(r.cost) for r in trained)
    assert not study.has_work


def test_what_is_told_can_be_read_by_another_process_while_the_search_runs(opened, tiny, tmp_path):
    study = opened(tiny())
    finish_next(study)
    running = study.propose()
    records = read_records(tiny(), open_folder(tmp_path / "run", tiny()))
    assert [r.state for r in records] == ["complete", "running"]
    assert records[1].architecture == running.architecture
    assert records[0].facts["manifest"] == "feed"
    assert records[0].facts["versions"]["optuna"] == optuna.__version__


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
    assert [r.facts["start"] for r in study.records] == ["caformer_s18", "poolformer_s12"]


@pytest.mark.parametrize("sampler", ["tpe", "front"])
def test_a_killed_search_trains_what_ran_again_under_its_old_number_and_asks_what_an_unkilled_one_would(
    tiny, tmp_path, sampler
):
    search = tiny("search.trials=20", f"search.sampler={sampler}")

    def study_in(name: str) -> Study:
        return Study(search, open_folder(tmp_path / name, search), manifest_hash="feed")

    unkilled = study_in("whole")
    finish_all(unkilled)
    for _ in range(20):  # a new driver for each proposal, killed once while it trained
        killed = study_in("killed")
        interrupted = killed.propose()
        again = study_in("killed")
        assert again.propose() == interrupted
        again.report(interrupted.number, {"epoch": 1, "accuracy": accuracy_of(interrupted.architecture)})
        again.finish(interrupted.number, accuracy=accuracy_of(interrupted.architecture), seconds=1.0)
    assert told(study_in("killed")) == told(unkilled)


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


def test_a_driver_killed_inside_ask_leaves_no_running_trial(opened, tiny):
    study = opened(tiny("search.trials=1"))
    study._study.ask()
    again = opened(tiny("search.trials=1"))
    assert finish_all(again) == [1]
    assert all(t.state.is_finished() for t in again._study.trials)


def test_a_baseline_that_was_lost_inside_ask_is_asked_again(opened, tiny):
    search = tiny("baselines=[poolformer_s12]", "search.start=[caformer_s18]", "search.trials=1")
    study = opened(search)
    study._study.ask()
    study._study.ask()
    again = opened(search)
    assert again.propose().architecture == design("poolformer_s12")
    second = again.propose()
    assert again.records[second.number].facts["start"] == "caformer_s18"


def test_a_duplicate_is_answered_from_the_record_and_never_trained_twice(opened, tiny):
    study = opened(tiny("search.trials=3"))
    number = finish_next(study)
    first = study.records[number]
    study._study.enqueue_trial(study.search.space.choices(first.architecture))
    second = finish_next(study)
    answered = study.records[number + 1]
    assert (answered.state, answered.facts["answered_from"], answered.accuracy) == ("answered", number, first.accuracy)
    assert study.records[second].key != first.key


def test_an_architecture_that_is_being_trained_is_not_proposed_again(opened, tiny):
    study = opened(tiny("search.trials=3"))
    running = study.propose()
    study._study.enqueue_trial(study.search.space.choices(running.architecture))
    assert study.propose().architecture != running.architecture
    assert study.records[running.number + 1].cause == f"trial {running.number} is training it"


def test_a_proposal_outside_the_constraints_is_counted_and_never_trained(opened, tiny):
    study = opened(tiny("constraints.macs.max=0.6M", "search.trials=10", "search.sampler=random"))
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
    study.report(number, {"epoch": 1, "accuracy": 0.99})
    study.stop(number)
    finish_next(study)
    stopped = study.records[number]
    assert (stopped.state, stopped.accuracy, stopped.curve[0]["accuracy"]) == ("stopped", None, 0.99)
    assert number not in [r.number for r in front(study.records, search)]


def test_a_rung_stops_what_lags_behind_cheaper_networks(opened, tiny):
    study = opened(tiny("search.trials=20", "constraints={}"))
    proposals = sorted((study.propose() for _ in range(8)), key=lambda p: study.search.space.cost(p.architecture).macs)
    *cheaper, dearest = proposals
    assert all([study.report(p.number, {"epoch": 1, "accuracy": 0.9}) for p in cheaper])
    assert not study.report(dearest.number, {"epoch": 1, "accuracy": 0.1})


def test_references_as_a_start_are_queued_once_each(opened, tiny):
    study = opened(tiny("search.start=references", "search.trials=3"))
    finish_all(study)
    started = [r for r in study.records if r.facts.get("start")]
    assert started[0].facts["start"] == "poolformerv2_s12"
    assert len({r.key for r in started}) == len(started) == 3


def test_three_objectives_are_searched_and_each_proposal_says_why(opened, tiny):
    study = opened(tiny("search.trials=22", "objectives=[accuracy, macs, params]"))
    finish_all(study)
    reasons = [r.facts["why"] for r in study.records if r.state == "complete"]
    assert reasons[0] == {"by": "start"}
    assert {"by", "predicted", "spread", "expected_gain"} <= set(reasons[-1])


def test_a_study_of_another_search_in_the_same_storage_is_refused(tiny, tmp_path):
    url = f"search.storage=sqlite:///{tmp_path}/shared.db"
    Study(tiny(url), open_folder(tmp_path / "a", tiny(url)), manifest_hash="feed")
    other = tiny(url, "search.seed=5")
    with pytest.raises(ConfigError, match=r"search\.seed: 0 in the run, now 5"):
        Study(other, open_folder(tmp_path / "b", other), manifest_hash="feed")


def test_other_images_under_the_same_settings_are_refused(opened, tiny, tmp_path):
    opened(tiny())
    with pytest.raises(ConfigError, match="manifest: feed in the run, now beef"):
        Study(tiny(), open_folder(tmp_path / "run", tiny()), manifest_hash="beef")


@pytest.mark.parametrize("damage", [lambda b: b"not a database at all" * 50, lambda b: b[:5000] + b"\0" * 20000 + b[25000:]])
def test_a_damaged_record_is_refused_and_left_as_it_is(opened, tiny, tmp_path, damage):
    study = opened(tiny())
    finish_all(study)
    study.close()
    path = tmp_path / "run" / "study.db"
    broken = damage(path.read_bytes())
    path.write_bytes(broken)
    with pytest.raises(NasError, match=r"study\.db: is damaged"):
        opened(tiny())
    assert path.read_bytes() == broken


def test_a_run_without_a_record_says_so(tiny, tmp_path):
    with pytest.raises(NasError, match=r"holds no study\.db"):
        read_records(tiny(), open_folder(tmp_path, tiny()))


def test_a_password_that_was_not_written_down_is_asked_for_by_name(tiny, tmp_path):
    folder = open_folder(tmp_path, tiny("search.storage=postgresql://me:secret@host/db"))
    with pytest.raises(NasError, match="Set NAS_STORAGE to the whole URL"):
        read_records(read_run(tmp_path)[1], folder)


def test_a_storage_out_of_reach_is_one_message(tiny, tmp_path):
    search = tiny(f"search.storage=sqlite:///{tmp_path}/no/such/folder/study.db")
    with pytest.raises(NasError, match=r"study\.db: cannot be used: unable to open"):
        Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")


def epoch(number: int, accuracy: float = 0.5) -> dict:
    return {"epoch": number, "accuracy": accuracy, "seconds": 2.0}


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
    assert [a["host"] for a in record.facts["attempts"]] == ["a", "b", "c"]


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
    causes = [a["cause"] for a in again.records[number].facts["attempts"]]
    assert causes == ["node lost", "the driver was killed or stopped", "node lost"]


def test_epochs_that_a_checkpoint_holds_are_not_lost_and_the_others_count_as_repeated(opened, tiny):
    study = opened(tiny("proxy.epochs=4"))
    number = study.propose().number
    study.begin(number, host="a")
    for i in (1, 2, 3):
        study.report(number, epoch(i))
    study.lose(number, cause="node lost")
    study.begin(number, host="b", curve=[epoch(1), epoch(2)])
    assert study.records[number].facts["repeated"] == 2.0
    study.lose(number, cause="node lost")
    study.begin(number, host="b", curve=[epoch(i) for i in (1, 2, 3, 4)])
    record = study.records[number]
    assert ([e["epoch"] for e in record.curve], record.facts["repeated"]) == ([1, 2, 3, 4], 2.0)


def test_what_a_rung_let_pass_stays_passed_when_it_is_trained_again(opened, tiny):
    study = opened(tiny("search.trials=20", "constraints={}"))
    proposals = sorted((study.propose() for _ in range(8)), key=lambda p: study.search.space.cost(p.architecture).macs)
    *cheaper, dearest = [p.number for p in proposals]
    assert study.report(dearest, {"epoch": 1, "accuracy": 0.1})
    for number in cheaper:
        study.report(number, {"epoch": 1, "accuracy": 0.9})
    assert study.report(dearest, {"epoch": 1, "accuracy": 0.1})
    assert study.begin(dearest, host="a", curve=[epoch(1, 0.1)])


def test_a_rung_that_a_kill_left_undecided_is_decided_when_the_trial_goes_on(opened, tiny):
    study = opened(tiny("search.trials=20", "constraints={}"))
    proposals = sorted((study.propose() for _ in range(8)), key=lambda p: study.search.space.cost(p.architecture).macs)
    *cheaper, dearest = [p.number for p in proposals]
    for number in cheaper:
        study.report(number, {"epoch": 1, "accuracy": 0.9})
    assert not opened(study.search).begin(dearest, host="a", curve=[epoch(1, 0.1)])


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


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_every_storage_holds_the_same_search(tiny, tmp_path, kind):
    url = [f"search.storage=journal://{tmp_path}/run.journal"] if kind == "journal" else []
    search = tiny("search.trials=6", *url)
    folder = open_folder(tmp_path / "run", search)
    finish_all(Study(search, folder, manifest_hash="feed"))
    again = Study(search, folder, manifest_hash="feed")
    assert not again.has_work and len(read_records(search, folder)) == 6


def test_a_journal_that_is_not_there_is_no_run(tiny, tmp_path):
    search = tiny(f"search.storage=journal://{tmp_path}/none.journal")
    with pytest.raises(NasError, match=r"none\.journal: there is no such journal"):
        read_records(search, open_folder(tmp_path / "run", search))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", r"search\.storage: must be a URL such as postgresql://"),
        ("journal:///no/such/folder/x", "the journal's folder must exist"),
        (
            "postgresql+psycopg2://me:secret@127.0.0.1:1/db",
            r"postgresql\+psycopg2://me:\*\*\*@127.0.0.1:1/db: (cannot be used|this)",
        ),
    ],
)
def test_a_wrong_storage_is_refused_in_seconds_and_no_password_is_shown(tiny, tmp_path, url, message):
    search = tiny(f"search.storage={url}")
    with pytest.raises(NasError, match=message) as refused:
        Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")
    assert "secret" not in str(refused.value)


def test_the_tables_of_another_optuna_are_refused_with_the_way_out(opened, tiny, tmp_path):
    opened(tiny()).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "study.db")) as database, database:
        database.execute("UPDATE version_info SET schema_version = 3, library_version = '1.0.0'")
        database.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(NasError, match=r"study\.db: was written by another version of Optuna: .*optuna storage upgrade"):
        opened(tiny())
