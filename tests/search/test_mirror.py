"""A study's trials in memory and in the storage behind them: equal whatever is written, and a draft nowhere but in memory."""

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import TrialState, create_trial

from nas.errors import NasError
from nas.search.mirror import Mirror

AXES = {"depth": IntDistribution(1, 4), "mixer": CategoricalDistribution(("pool", "conv", None))}


def new_study(storage) -> optuna.Study:
    return optuna.create_study(study_name="one", storage=storage, directions=["maximize", "minimize"])


def mirrored(storage) -> tuple[Mirror, optuna.Study]:
    mirror = Mirror(storage, storage.get_study_id_from_name("one"))
    return mirror, optuna.load_study(study_name="one", storage=mirror)


def facts(trials) -> list[tuple]:
    return [
        (t.number, t.state, t.params, t.user_attrs, t.system_attrs, t.values if t.state.is_finished() else None) for t in trials
    ]


def ask(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    trial.suggest_int("depth", 1, 4)
    trial.suggest_categorical("mixer", ("pool", "conv", None))
    return trial


STEPS = st.lists(st.sampled_from(["ask", "queue", "note", "finish", "prune", "constrain"]), max_size=12)


@given(steps=STEPS)
def test_what_was_written_is_what_is_read_again(steps):
    storage = InMemoryStorage()
    new_study(storage)
    mirror, study = mirrored(storage)
    for step in steps:
        running = [t.number for t in study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING]
        if step == "ask":
            mirror.put_down(ask(study).number)
        elif step == "queue":
            study.enqueue_trial({"depth": 2}, user_attrs={"start": "here"}, skip_if_exists=False)
        elif running and step == "note":
            mirror.set_trial_user_attr(running[-1], "curve", [{"epoch": 1, "loss": 0.5}])
        elif running and step == "constrain":
            mirror.set_trial_system_attr(running[0], "plan", {"depth": 2})
        elif running and step == "finish":
            study.tell(running[0], [0.5, 3.0])
        elif running and step == "prune":
            study.tell(running[0], state=TrialState.PRUNED)
    assert facts(mirror.get_all_trials(0)) == facts(mirrored(storage)[0].get_all_trials(0))


def test_a_draft_is_written_as_a_whole_or_never(tmp_path):
    storage = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    new_study(storage)
    mirror, study = mirrored(storage)
    trial = ask(study)
    trial.set_user_attr("key", "abc")
    assert storage.get_all_trials(1) == []
    mirror.put_down(trial.number)
    mirror.put_down(trial.number)
    (there,) = storage.get_all_trials(1)
    assert (there.params, there.user_attrs, there.state) == (trial.params, {"key": "abc"}, TrialState.RUNNING)


def test_a_proposal_that_is_turned_down_at_once_is_written_with_its_end(tmp_path):
    storage = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    new_study(storage)
    mirror, study = mirrored(storage)
    trial = ask(study)
    study.tell(trial, state=TrialState.PRUNED)
    mirror.put_down(trial.number)
    assert [t.state for t in storage.get_all_trials(1)] == [TrialState.PRUNED]


def test_what_a_reader_holds_does_not_change_under_its_hands():
    storage = InMemoryStorage()
    new_study(storage).add_trial(create_trial(params={"depth": 2}, distributions={"depth": AXES["depth"]}, values=[1.0, 2.0]))
    mirror, study = mirrored(storage)
    before = mirror.get_all_trials(0)
    mirror.put_down(ask(study).number)
    mirror.set_trial_user_attr(1, "key", ("a", "b"))
    assert len(before) == 1
    assert mirror.get_trial(1).user_attrs == {"key": ["a", "b"]}


def test_a_trial_of_somebody_else_is_noticed_before_numbers_are_mixed_up():
    storage = InMemoryStorage()
    other = new_study(storage)
    mirror, study = mirrored(storage)
    other.ask()
    trial = ask(study)
    with pytest.raises(NasError, match="did not write"):
        mirror.put_down(trial.number)
