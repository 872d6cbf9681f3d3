"""Whole searches over a table, ours and their peers': each gives one event a training, whole or stopped at the rung."""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState
from tables import Table

from nas.pareto import pareto
from nas.run.settings.search import read_search
from nas.search.rungs import A_PROMOTION, MOST_AT_A_RUNG, likeliest_beaten, num_promoted, ranked
from nas.search.samplers.evolution import EvolutionSampler
from nas.search.samplers.front import FrontSampler, start_at
from nas.search.samplers.history import Early, History
from nas.space.constraints import repair
from nas.space.reference import design

ASKS = 2_000  # questions in a row that bring nothing new: a search that only repeats itself ends there
POPULATION = 20
ETA = 4  # of MO-ASHA: one in so many is promoted


class Event(NamedTuple):
    """What a search spent, in full trainings, and on which architecture: to its end, or to the rung."""

    cost: float
    arch: str
    is_whole: bool = True


Searcher = Callable[[Table, int], Iterator[Event]]


def optuna_search(
    table: Table,
    seed: int,
    *,
    sampler: Callable[[Table, int], BaseSampler],
    start: Callable[[], list[str]] = list,
    workers: int = 1,
) -> Iterator[Event]:
    """Whole trainings of what one of Optuna's samplers, or ours, proposes after `start`; repeats cost nothing.

    So many `workers` train at once and end in the order in which they began.
    """
    study = _new_study(table, sampler(table, seed))
    for arch in start():
        study.enqueue_trial(dict(zip(table.space, arch, strict=True)))
    seen: set[str] = set()
    running: deque[tuple[Trial, str]] = deque()
    idle = 0
    while idle < ASKS:
        while len(running) < workers:
            trial = study.ask()
            running.append((trial, table.arch({n: trial.suggest_categorical(n, d.choices) for n, d in table.space.items()})))
        trial, arch = running.popleft()
        error, *costs = table.objectives[arch]
        study.tell(trial, [100 - error, *costs])
        idle = idle + 1 if arch in seen else 0
        if not idle:
            seen.add(arch)
            yield Event(1.0, arch)


def _new_study(table: Table, sampler: BaseSampler) -> optuna.Study:
    return optuna.create_study(directions=["maximize", *["minimize"] * (len(table.ideal) - 1)], sampler=sampler)


def references() -> list[str]:
    """What `search.start: references` puts first in the space of digits.yaml, as rows of its table."""
    search = read_search(Path(__file__).with_name("digits.yaml"), settings=["search.start=references"])
    archs = []
    for name in search.start_designs:
        near = repair(search.space.nearest(design(name)), search.space, search.constraints, rng=random.Random(0))
        chosen = search.space.choices(near)
        archs.append("".join(str(options.index(chosen[axis])) for axis, options in search.space.axes.items()))
    return list(dict.fromkeys(archs))


def front_rungs(table: Table, seed: int, *, trials: float = math.inf) -> Iterator[Event]:
    """FrontSampler and our rule at the rung: in turn with new ones, what should widen the front most is trained on.

    After so many `trials` no new ones come; it ends when as many as the rule wants have been trained on.
    """

    def early(trial: FrozenTrial) -> Early:
        return [trial.user_attrs["rung"]] if "rung" in trial.user_attrs else []

    history = History(table.space, table.costs, early=early, rests=lambda trial: "rung" in trial.user_attrs)
    start = start_at(table.rung_cost, trials=len(table.objectives))
    study = _new_study(table, FrontSampler(history, seed=seed, start=start))
    waiting: dict[int, tuple[Trial, str]] = {}
    reached = passed = 0
    while reached < trials or passed < num_promoted(reached):
        if waiting and (reached >= trials or passed < (reached - start) / A_PROMOTION):
            points = history.observations(study.get_trials(deepcopy=False))
            best, *others = ranked(set(waiting), points, rung=0, history=history, seed=seed)
            if (over := len(others) - MOST_AT_A_RUNG + 1) > 0:
                for number in likeliest_beaten(set(others), points, number=over, history=history, seed=seed):
                    study.tell(waiting.pop(number)[0], state=TrialState.PRUNED)
            trial, arch = waiting.pop(best)
            error, *costs = table.objectives[arch]
            study.tell(trial, [100 - error, *costs])
            passed += 1
            yield Event(1 - table.rung_cost, arch)
            continue
        trial = study.ask()
        arch = table.arch({n: trial.suggest_categorical(n, d.choices) for n, d in table.space.items()})
        trial.set_user_attr("rung", table.rung[arch])
        waiting[trial.number] = trial, arch
        reached += 1
        yield Event(table.rung_cost, arch, is_whole=False)


def mo_asha(table: Table, seed: int) -> Iterator[Event]:
    """Random architectures to the rung; whenever a best one of each ETA there is left untrained, it is trained to the end.

    Best is by non-dominated sorting of rung error and MACs, crowding within a front (arXiv:2106.12639).
    """
    rng = np.random.default_rng(seed)
    order = iter(rng.permutation(sorted(table.objectives)))
    low: dict[str, tuple[float, ...]] = {}
    promoted: set[str] = set()
    while True:
        best = _best_first(low)[: len(low) // ETA]
        waiting = [a for a in best if a not in promoted]
        if waiting:
            promoted.add(waiting[0])
            yield Event(1 - table.rung_cost, waiting[0])
        elif (arch := next(order, None)) is not None:
            low[arch] = -table.rung[arch][0], *table.objectives[arch][1:]
            yield Event(table.rung_cost, arch, is_whole=False)
        else:
            return


def _best_first(points: dict[str, tuple[float, ...]]) -> list[str]:
    """Names by front, and within one by crowding distance, the loneliest first."""
    left, ranked = dict(points), []
    while left:
        names = list(left)
        values = np.array([left[n] for n in names])
        front = pareto(values)
        ranked += [names[front[i]] for i in np.argsort(-_crowding(values[front]), kind="stable")]
        left = {n: left[n] for i, n in enumerate(names) if i not in set(front)}
    return ranked


def _crowding(values: np.ndarray) -> np.ndarray:
    distance = np.zeros(len(values))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        gaps = np.diff(column[order], prepend=-np.inf, append=np.inf)
        distance[order] += (gaps[:-1] + gaps[1:]) / (np.ptp(column) or 1)
    return distance


def sms_emoa(table: Table, seed: int) -> Iterator[Event]:
    """pymoo's SMS-EMOA, evolution by hypervolume, over whole numbers and without duplicates; `pip install pymoo`."""
    from pymoo.algorithms.moo.sms import SMSEMOA
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.operators.sampling.rnd import IntegerRandomSampling

    choices = [d.choices for d in table.space.values()]
    problem = Problem(n_var=len(choices), n_obj=len(table.ideal), xl=0, xu=np.array([len(c) - 1 for c in choices]), vtype=int)
    whole = {"prob": 1.0, "eta": 3.0, "vtype": float, "repair": RoundingRepair()}
    search = SMSEMOA(POPULATION, sampling=IntegerRandomSampling(), crossover=SBX(**whole), mutation=PM(**whole))
    search.setup(problem, termination=("n_gen", ASKS), seed=seed, verbose=False)
    seen: set[str] = set()
    while search.has_next():
        children = search.ask()
        archs = ["".join(c[int(i)] for c, i in zip(choices, row, strict=True)) for row in children.get("X")]
        children.set("F", np.array([table.objectives[a] for a in archs]))
        yield from (Event(1.0, a) for a in dict.fromkeys(archs) if a not in seen)
        seen.update(archs)
        search.tell(infills=children)


def mo_rea(table: Table, seed: int) -> Iterator[Event]:
    """Syne Tune's multi-objective regularised evolution, its own package; `pip install syne-tune[moo]`."""
    from syne_tune.config_space import choice
    from syne_tune.optimizer.schedulers.multiobjective import MultiObjectiveRegularizedEvolution

    space = {name: choice(list(d.choices)) for name, d in table.space.items()}
    search = MultiObjectiveRegularizedEvolution(space, population_size=POPULATION, random_seed=seed)
    seen: set[str] = set()
    for number in range(ASKS):
        config = search.suggest()
        arch = table.arch(config)
        search.on_trial_complete(number, config, list(table.objectives[arch]))
        if arch not in seen:
            seen.add(arch)
            yield Event(1.0, arch)


def _front(table: Table, seed: int) -> FrontSampler:
    return FrontSampler(History(table.space, table.costs), seed=seed)


def _optuna(sampler: Callable[[Table, int], BaseSampler]) -> Searcher:
    return partial(optuna_search, sampler=sampler)


SEARCHERS: dict[str, Searcher] = {
    "front": _optuna(_front),
    "front-16": partial(optuna_search, sampler=_front, workers=16),
    "front-64": partial(optuna_search, sampler=_front, workers=64),
    "front-references": partial(optuna_search, sampler=_front, start=references),
    "evolution": _optuna(lambda table, seed: EvolutionSampler(History(table.space, table.costs), seed=seed)),
    "tpe": _optuna(lambda table, seed: TPESampler(multivariate=True, seed=seed)),
    "gp": _optuna(lambda table, seed: GPSampler(seed=seed)),
    "nsga2-20": _optuna(lambda table, seed: NSGAIISampler(population_size=20, seed=seed)),
    "nsga2-50": _optuna(lambda table, seed: NSGAIISampler(population_size=50, seed=seed)),
    "sms-emoa": sms_emoa,
    "mo-rea": mo_rea,
    "front-rungs": front_rungs,
    "mo-asha": mo_asha,
    "random": _optuna(lambda table, seed: RandomSampler(seed=seed)),
}
