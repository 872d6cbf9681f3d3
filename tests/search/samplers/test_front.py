"""Proposals in plain Optuna studies of made-up problems: values are worked out from the parameters, costs are sums."""

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from nas.errors import Infeasible, NasError
from nas.pareto import hypervolume_of
from nas.search.samplers.front import START, FrontSampler, start_at
from nas.search.samplers.history import History

GRID = {f"x{i}": IntDistribution(0, 3) for i in range(6)}
MIXED = {
    "mixer": CategoricalDistribution(["pool", "conv", "attention"]),
    "depth": IntDistribution(2, 10, step=2),
    "width": IntDistribution(8, 512, log=True),
    "ratio": FloatDistribution(1.0, 4.0, step=0.5),
    "scale": FloatDistribution(1e-6, 1.0, log=True),
    "head": CategoricalDistribution(["linear"]),
}


def total(params):
    return 1.0 + sum(v for v in params.values() if not isinstance(v, str))


def value(params):
    return sum((i + 1) * min(v, 2) for i, v in enumerate(params.values()) if not isinstance(v, str))


def new_study(space=GRID, cost=total, seed=0, *, start=START, **told):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sampler = FrontSampler(History(space, cost, **told), seed=seed, start=start)
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def asked(study, space=GRID):
    trial = study.ask()
    return trial, {name: trial._suggest(name, d) for name, d in space.items()}


def run(study, count, space=GRID):
    points = []
    for _ in range(count):
        trial, params = asked(study, space)
        study.tell(trial, [value(params), total(params)])
        points.append(params)
    return points


def different(points):
    return len({tuple(p.items()) for p in points})


def test_the_same_study_and_seed_give_the_same_proposal_whoever_asks():
    whole = run(new_study(seed=3), 30)
    study = new_study(seed=3)
    for params in whole[:25]:
        study.add_trial(optuna.trial.create_trial(params=params, distributions=GRID, values=[value(params), total(params)]))
    assert run(study, 5) == whole[25:]
    assert run(new_study(seed=4), 30) != whole


def test_what_the_cost_function_refuses_is_never_proposed():
    study = new_study(cost=lambda p: None if total(p) > 8 else total(p))
    assert all(total(p) <= 8 for p in run(study, 40))


def test_no_point_comes_twice_while_an_untried_one_exists_and_then_one_is_repeated():
    space = {"a": IntDistribution(0, 4), "b": CategoricalDistribution(["x", "y"]), "c": FloatDistribution(0, 1, step=0.5)}
    study = new_study(space)
    assert different(run(study, 30, space)) == 30
    assert len(run(study, 2, space)) == 2


def test_optimize_stops_when_every_point_was_tried():
    space = {"a": IntDistribution(0, 4)}
    study = new_study(space)
    study.optimize(lambda trial: (trial.suggest_int("a", 0, 4), trial.params["a"] + 1), n_trials=50)
    assert len(study.trials) == 6


def test_a_space_of_one_point_is_proposed():
    space = {"head": CategoricalDistribution(["linear"]), "n": IntDistribution(2, 2)}
    assert run(new_study(space), 2, space) == [{"head": "linear", "n": 2}] * 2


def test_axes_of_every_kind_are_searched_within_their_bounds():
    points = run(new_study(MIXED), 40, MIXED)
    assert different(points) == 40
    assert all(MIXED[n]._contains(MIXED[n].to_internal_repr(v)) for p in points for n, v in p.items())


def test_points_that_are_asked_at_once_all_differ():
    study = new_study()
    run(study, 20)
    trials = [study.ask() for _ in range(8)]
    assert different([{n: t._suggest(n, d) for n, d in GRID.items()} for t in trials]) == 8


def test_a_region_that_fails_or_is_stopped_is_left():
    for state in (TrialState.FAIL, TrialState.PRUNED):
        study, failures = new_study(), []
        for _ in range(60):
            trial, params = asked(study)
            failures.append(params["x5"] >= 2)
            if failures[-1]:
                study.tell(trial, state=state)
            else:
                study.tell(trial, [value(params), total(params)])
        assert sum(failures[30:]) <= 6  # of 30; random draws give 15


def test_a_point_that_a_machine_lost_is_no_bad_point_and_comes_again():
    def lost(trial):
        return bool(trial.user_attrs.get("machine"))

    study = new_study({"a": IntDistribution(0, 2)}, void=lost)
    points = []
    for number in range(4):
        trial, params = asked(study, {"a": IntDistribution(0, 2)})
        trial.set_user_attr("machine", number == 0)
        study.tell(trial, None if number == 0 else [1.0, total(params)], state=TrialState.FAIL if number == 0 else None)
        points.append(params["a"])
    assert sorted(points[1:]) == [0, 1, 2]


def test_every_second_time_a_draw_decides_and_says_so():
    study = new_study()
    run(study, 24)
    whys = [t.user_attrs["why"] for t in study.get_trials()]
    assert [w["by"] == "start" for w in whys] == [True] * 16 + [False] * 8
    assert ["drawn_gain" in w for w in whys[16:]] == [True, False] * 4
    assert all(w["spread"] > 0 and w["expected_gain"] >= 0 for w in whys[16:])


def test_a_cheap_rung_makes_the_start_longer_and_a_small_search_does_not_spend_itself_on_it():
    assert start_at(1 / 16, trials=1000) == 64  # four trainings' worth
    assert start_at(1 / 16, trials=160) == 40
    assert start_at(1.0, trials=1000, num_costs=2) == 8 and start_at(1 / 16, trials=1000, num_costs=2) == 64
    assert start_at(1 / 2, trials=1000) == start_at(1 / 16, trials=20) == start_at(1.0, trials=1000) == START
    study = new_study(start=20)
    run(study, 22)
    assert [t.user_attrs["why"]["by"] == "start" for t in study.get_trials()] == [True] * 20 + [False] * 2


def test_a_storage_written_by_another_sampler_is_read():
    study = new_study()
    study.sampler = optuna.samplers.TPESampler(seed=0)
    before = run(study, 20)
    study.sampler = FrontSampler(History(GRID, total), seed=0)
    assert not {tuple(p.items()) for p in run(study, 5)} & {tuple(p.items()) for p in before}


def test_an_infinite_value_counts_as_a_failure():
    study = new_study()
    for number in range(24):
        trial, params = asked(study)
        study.tell(trial, [-float("inf") if number % 4 == 0 else value(params), total(params)])
    assert all(np.isfinite(t.user_attrs["why"]["predicted"]) for t in study.get_trials()[20:])


def test_a_study_in_which_all_fail_goes_on_asking():
    study, points = new_study(), []
    for _ in range(25):
        trial, params = asked(study)
        study.tell(trial, state=TrialState.FAIL)
        points.append(params)
    assert different(points) == 25


def test_queued_points_come_first_and_are_learnt_from():
    study = new_study()
    wanted = dict.fromkeys(GRID, 2)
    study.enqueue_trial(wanted)
    points = run(study, 30)
    assert points[0] == wanted
    assert different(points) == 30


def test_parameters_that_are_not_asked_for_do_not_count():
    space = {"kind": CategoricalDistribution(["a", "b"]), "n": IntDistribution(0, 5), "m": IntDistribution(0, 20)}
    study, seen = new_study(space), []
    for _ in range(27):
        trial = study.ask()
        kind = trial.suggest_categorical("kind", ["a", "b"])
        number = trial.suggest_int("n", 0, 5) if kind == "a" else trial.suggest_int("m", 0, 20)
        study.tell(trial, [number, number + 1.0])
        seen.append((kind, number))
    assert len(set(seen)) == 27


@pytest.mark.parametrize("given", [float("nan"), float("inf")])
def test_a_cost_that_is_no_number_is_one_message(given):
    with pytest.raises(NasError, match="must give a finite number or None, but gave"):
        asked(new_study(cost=lambda p: given))


def test_a_cost_function_that_raises_is_one_message():
    with pytest.raises(NasError, match="but raised KeyError"):
        asked(new_study(cost=lambda p: p["nothing"]))


def test_limits_that_leave_nothing_are_one_message():
    with pytest.raises(Infeasible, match="Loosen its limits"):
        asked(new_study({"a": IntDistribution(0, 1)}, lambda p: None))


def test_a_study_of_other_directions_is_refused():
    study = optuna.create_study(direction="maximize", sampler=FrontSampler(History(GRID, total), seed=0))
    with pytest.raises(NasError, match="needs a study with directions"):
        asked(study)


@pytest.mark.thorough
def test_it_is_far_ahead_of_random_search():
    space = {f"x{i}": IntDistribution(0, 3) for i in range(10)}
    # the true front raises the axis that counts most from 0 to 2 first, then the next: 20 steps of cost 1
    steps = [weight for weight in range(10, 0, -1) for _ in range(2)]
    best = hypervolume_of([(-sum(steps[:n]), 1.0 + n) for n in range(21)], (0, 32))

    def missed(sampler):
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        return 1 - hypervolume_of([(-value(p), total(p)) for p in run(study, 60, space)], (0, 32)) / best

    front = [missed(FrontSampler(History(space, total), seed=s)) for s in range(3)]
    random = [missed(RandomSampler(seed=s)) for s in range(3)]
    assert sum(front) < 0.7 * sum(random), (front, random)


@pytest.mark.thorough
def test_many_that_ask_at_once_are_given_different_points_from_one_pool(monkeypatch):
    study = new_study()
    run(study, 150)
    drawn = count_calls(monkeypatch, "_drawn_pool")
    points = [asked(study)[1] for _ in range(24)]
    assert different([*points, *(trial.params for trial in study.get_trials() if trial.state == TrialState.COMPLETE)]) == 174
    assert len(drawn) < 24


@pytest.mark.thorough
def test_a_pool_of_which_too_little_is_untried_is_drawn_again():
    study = new_study(space := {f"x{i}": IntDistribution(0, 3) for i in range(4)})
    run(study, 200, space)
    points = [asked(study, space)[1] for _ in range(24)]
    why = [trial.user_attrs["why"]["by"] for trial in study.get_trials()[-24:]]
    assert why.count("untried") <= 2
    assert different([*points, *(trial.params for trial in study.get_trials()[:200])]) == 224


def count_calls(monkeypatch, name):
    """The arguments of each call of one of the sampler's functions from now on."""
    calls, own = [], getattr(FrontSampler, name)
    monkeypatch.setattr(FrontSampler, name, lambda self, *told: calls.append(told) or own(self, *told))
    return calls


def test_a_running_trial_is_read_again_only_where_it_has_changed():
    read = []
    study = new_study(early=lambda trial: read.append(trial.number) or [])
    run(study, 3)
    first, second = asked(study)[0], asked(study)[0]
    asked(study)
    read.clear()
    second.set_user_attr("loss", 1.0)
    asked(study)
    assert first.number not in read and second.number in read
