"""Evolution in a plain Optuna study: random points first, then mutants of the best, none twice."""

import optuna
from optuna.distributions import IntDistribution

from nas.search.samplers.evolution import ELITE, EvolutionSampler
from nas.search.samplers.history import History

GRID = {f"x{i}": IntDistribution(0, 3) for i in range(6)}


def run(count, *, cost=lambda params: 1.0 + sum(params.values())):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=EvolutionSampler(History(GRID, cost), seed=0))
    for _ in range(count):
        trial = study.ask()
        params = {name: trial._suggest(name, axis) for name, axis in GRID.items()}
        study.tell(trial, [sum(min(v, 2) for v in params.values()), cost(params)])
    return study.get_trials()


def test_children_differ_from_a_named_parent_in_one_or_two_parameters():
    trials = run(ELITE + 20)
    assert [t.user_attrs["why"]["by"] for t in trials[:ELITE]] == ["random"] * ELITE
    children = [t for t in trials if t.user_attrs["why"]["by"] == "mutant"]
    assert len(children) >= 15
    for child in children:
        parent = trials[child.user_attrs["why"]["parents"][0]]
        changed = {n: [parent.params[n], child.params[n]] for n in GRID if parent.params[n] != child.params[n]}
        assert 1 <= len(changed) <= 2
        assert child.user_attrs["why"]["changes"] == changed


def test_no_point_comes_twice_and_none_that_is_refused():
    trials = run(60, cost=lambda params: None if params["x0"] == 3 else 1.0 + sum(params.values()))
    assert len({tuple(sorted(t.params.items())) for t in trials}) == 60
    assert all(t.params["x0"] != 3 for t in trials)
