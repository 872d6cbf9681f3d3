"""What a calibration's trainings say of each fidelity: agreement with the truth, noise, cost, verdict, resolution check."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nas.calibration.ranking import (
    FAILED,
    FEWEST_RANKED,
    Estimate,
    Pairs,
    agreement,
    estimate,
    kendall,
    pairs_of,
    resamples,
    seed_noise,
    spearman,
    truths,
    upper_half,
)
from nas.calibration.signals import UNTRAINED, heading, of_one_training, trust
from nas.errors import NasError
from nas.recipes.recipe import Proxy, plain_recipe
from nas.space.costs import COSTS
from nas.space.mixers import MIXERS
from nas.units import duration

BROKEN_BELOW = 2 / 3  # of the median accuracy in the reference: the papers' broken ablations, and nothing that merely is worse
MEASURES = {"tau": kendall, "rho": spearman}
GROUPS = {"trained": "train at all", "all": "all", "top": "top"}
FLOORS = {name: f"{COSTS[name].heading} alone" for name in ("macs", "params")}  # rankings that need no training
MOVERS = 3
IN_PIXELS = ("image_size", "crop_padding")


class Analysis(NamedTuple):
    """What a calibration's trainings say."""

    against: str
    ranked: list[str]
    """Architectures with a place in the reference."""
    dropped: list[str]
    """Those whose training failed in the reference, which therefore rank nowhere."""
    broken: list[str]
    """Ranked ones that hardly train at all: they make every correlation look good."""
    seeds: int
    """Of the reference; 0 where the truth comes from outside."""
    fidelities: pd.DataFrame
    """One row a fidelity, cheapest first."""
    floors: dict[str, dict[str, Estimate]]
    """By cost (macs, params), then by statistic such as tau_all."""
    signals: pd.DataFrame
    """One row a fidelity and signal, see `nas.calibration.signals.trust`."""
    verdict: list[str]


def analyse(
    trainings: pd.DataFrame,
    costs: pd.DataFrame,
    *,
    against: str,
    truth: pd.Series | None = None,
    wanted_tau: float = 0.7,
    chance: float = 0.0,
    scores: pd.DataFrame | None = None,
    stages: pd.DataFrame | None = None,
) -> Analysis:
    """What trainings (columns fidelity, name, seed, seconds, accuracy and other signals) and costs (macs, params by name) say.

    A failed training has the accuracy FAILED and ranks last in its fidelity; an architecture that failed in the reference
    drops out. `stages`: of `stage_features`. NasError where fewer than four architectures are left.
    """
    tables = {name: _accuracies(rows, list(costs.index)) for name, rows in trainings.groupby("fidelity", sort=False)}
    whole = None if truth is None else truth.reindex(costs.index).dropna()
    reference, dropped = _reference(tables.get(against), against) if whole is None else (whole, [])
    names = list(reference.index)
    _check_enough(names, against)
    tables = {name: table.loc[names] for name, table in tables.items()}
    trains, remarks = _that_train(reference, against, chance=chance)
    weights, keep = resamples(len(names)), _groups(trains)
    draws = {name: _agreements(pairs_of(table, reference), weights, keep) for name, table in tables.items()}
    floor_pairs = _floor_pairs(costs.loc[names], reference, tables)
    floor_draws = {cost: _agreements(pairs, weights, keep) for cost, pairs in floor_pairs.items()}
    rows = _fidelity_rows(tables, draws, trainings, against if truth is None else None)
    signals = _in_order(trust(trainings, costs, reference, trains=trains, scores=scores, stages=stages), list(rows.fidelity))
    return Analysis(
        against,
        names,
        dropped,
        [name for name, able in zip(names, trains, strict=True) if not able],
        0 if truth is not None else reference.shape[1],
        rows,
        {c: {key: estimate(values) for key, values in statistics.items()} for c, statistics in floor_draws.items()},
        signals,
        [*remarks, *_verdict(rows, draws, floor_draws, wanted_tau=wanted_tau), *_best_signal(signals, rows)],
    )


def _check_enough(names: list[str], against: str) -> None:
    if len(names) < FEWEST_RANKED:
        raise NasError(
            f"calibration: must have at least {FEWEST_RANKED} architectures ranked by {against}, but has {len(names)} yet. "
            "Continue it, or see the causes of failure in trainings.csv."
        )


def _that_train(reference: pd.DataFrame | pd.Series, against: str, *, chance: float) -> tuple[np.ndarray, list[str]]:
    """Which architectures train at all in the reference; all of them, and a remark, where too few do."""
    level = reference.mean(axis=1) if isinstance(reference, pd.DataFrame) else reference
    trains = (level > max(2 * chance, BROKEN_BELOW * level.median())).to_numpy()
    if trains.sum() >= FEWEST_RANKED:
        return trains, []
    remark = f"Only {trains.sum()} of {len(level)} architectures train at all in {against}: every statistic is over all."
    return np.ones(len(level), bool), [remark]


def _floor_pairs(costs: pd.DataFrame, reference: pd.DataFrame | pd.Series, tables: dict[str, pd.DataFrame]) -> dict[str, Pairs]:
    """For each cost that ranks without any training, its values beside the truth that each seed is compared with."""
    seeds = sorted({seed for table in tables.values() for seed in table.columns})
    truth_by_seed = truths(reference, seeds).values()
    return {cost: [(costs[cost].to_numpy(float), values) for values in truth_by_seed] for cost in FLOORS}


def _accuracies(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """One fidelity as architectures x seeds; NaN where a training has not ended yet."""
    return rows.pivot(index="name", columns="seed", values="accuracy").reindex(names)


def _reference(table: pd.DataFrame | None, against: str) -> tuple[pd.DataFrame, list[str]]:
    """The reference's accuracies, whole seeds of the architectures that it ranks, and the names of those that failed in it."""
    if table is None:
        raise NasError(
            f"calibration: must have trainings at the reference {against} to rank by, but has none yet. Continue it."
        )
    failed = (table == FAILED).any(axis=1)
    kept = table[~failed & table.iloc[:, 0].notna()]
    return kept.loc[:, kept.notna().all()], list(table.index[failed])


def _groups(trains: np.ndarray) -> dict:
    return {"all": lambda y: np.ones(len(y), bool), "trained": lambda y: trains, "top": upper_half}


def _agreements(pairs: list, weights: np.ndarray, keep: dict) -> dict[str, np.ndarray]:
    """Every statistic, such as tau_top, for the sample and its resamples."""
    return {
        f"{measure}_{group}": agreement(pairs, weights, MEASURES[measure], keep=keep[group])
        for measure in MEASURES
        for group in GROUPS
    }


def _fidelity_rows(tables: dict, draws: dict, trainings: pd.DataFrame, against: str | None) -> pd.DataFrame:
    seconds = trainings[trainings.accuracy > FAILED].groupby("fidelity").seconds.mean()
    order = sorted(tables, key=lambda name: seconds.get(name, np.inf))
    whole = seconds.get(against, seconds.max()) if against else seconds.max()
    rows = []
    for name in order:
        raw, shared = seed_noise(tables[name])
        spent = seconds.get(name, np.nan)
        row = {"fidelity": name, "is_reference": name == against, "seconds": spent, "cost_ratio": spent / whole}
        for key, values in draws[name].items():
            score = estimate(values)
            row |= {key: score.value, f"{key}_low": score.low, f"{key}_high": score.high}
        accuracies = trainings[trainings.fidelity == name].accuracy
        num_failed = int((accuracies == FAILED).sum())
        row |= {"noise": raw, "noise_shared_seed": shared, "trainings": len(accuracies), "failed": num_failed}
        rows.append(row)
    return pd.DataFrame(rows)


def of(row: Any, key: str) -> Estimate:
    """One statistic of a row of the fidelities."""
    return Estimate(row[key], row[f"{key}_low"], row[f"{key}_high"])


def _verdict(rows: pd.DataFrame, draws: dict, floors: dict, *, wanted_tau: float) -> list[str]:
    """Which fidelity to use, and whether it says more than MACs and params do."""
    others = rows[~rows.is_reference & rows.tau_trained.notna()]
    if others.empty:
        return ["No fidelity can be judged yet: none but the reference has been trained."]
    good = others[others.tau_trained >= wanted_tau]
    best = others.loc[others.tau_trained_low.fillna(-1.0).idxmax()]
    lines = [_choice(good.iloc[0] if len(good) else None, best, wanted_tau)]
    floor = max(floors, key=lambda c: np.nan_to_num(floors[c]["tau_trained"][0], nan=-1))
    gap = estimate(draws[best.fidelity]["tau_trained"] - floors[floor]["tau_trained"])
    above = "ranks better than" if gap.low > 0 else "is not shown to rank better than"
    lines.append(f"{best.fidelity} {above} {FLOORS[floor]} ({estimate(floors[floor]['tau_trained'])}): difference {gap}.")
    return lines


def _in_order(signals: pd.DataFrame, fidelities: list[str]) -> pd.DataFrame:
    """The signals' rows in the order of the fidelities."""
    order = [UNTRAINED, *fidelities]
    return signals.sort_values("fidelity", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)


def _best_signal(signals: pd.DataFrame, rows: pd.DataFrame) -> list[str]:
    """Which signal of which short training surely ranks best, beside that training's accuracy: few trainings say little."""
    short = of_one_training(signals[~signals.fidelity.isin(rows[rows.is_reference].fidelity) & signals.tau.notna()])
    if short.signal.nunique() < 2:
        return []
    best = short.loc[short.tau_low.fillna(-1.0).idxmax()]
    accuracy = short[(short.fidelity == best.fidelity) & (short.signal == "accuracy")]
    beside = ""
    if len(accuracy) and best.signal != "accuracy":
        beside = f"; its accuracy {of(accuracy.iloc[0], 'tau')}, difference {of(best, 'over_accuracy')}"
    less = [f"{FLOORS[c]} {of(best, f'over_{c}')}" for c in ("params", "macs")]
    return [
        f"Best signal: {heading(best.signal)} of {best.fidelity}, {of(best, 'tau')}{beside}. Difference to "
        f"{' and to '.join(less)}."
    ]


def _choice(good: Any, best: Any, wanted_tau: float) -> str:
    if good is None:
        best_of = f"{best.fidelity} with {of(best, 'tau_trained')}"
        return f"No fidelity reaches the wanted Kendall tau of {wanted_tau:.2f}; the best is {best_of}."
    whole = "the whole interval does" if good.tau_trained_low >= wanted_tau else "but its interval reaches below"
    return (
        f"{good.fidelity} is the cheapest fidelity that reaches the wanted Kendall tau of {wanted_tau:.2f}: "
        f"{of(good, 'tau_trained')} ({whole}), {duration(good.seconds)} a training."
    )


# Does another image size reorder the mixers?


class Resolution(NamedTuple):
    """Two fidelities that differ in image size only."""

    small: str
    large: str
    sizes: tuple
    tau: float
    """With each other, mean over both directions and over seeds that are not shared."""
    ceilings: tuple[float, float]
    """Of each with itself under another seed; NaN for one seed."""
    ranks: pd.DataFrame
    """Mean rank (1 is best) by mixer: columns architectures, small, large; an architecture counts under each mixer it holds."""
    movers: list[tuple[str, int, int]]
    """Names with their ranks at both sizes, the farthest first."""


def resolutions(trainings: pd.DataFrame, recipes: dict[str, Proxy], mixers: dict[str, set[str]]) -> list[Resolution]:
    """A check for each pair of fidelities that differ in image size only, and in what is counted in pixels; `mixers` by
    architecture."""
    plain = {name: plain_recipe(recipe) for name, recipe in recipes.items() if (trainings.fidelity == name).any()}
    checks = []
    for small in plain:
        for large in plain:
            rest = [{k: v for k, v in plain[n].items() if k not in IN_PIXELS} for n in (small, large)]
            if recipes[small].full_size < recipes[large].full_size and rest[0] == rest[1]:
                checks.append(_resolution(trainings, small, large, recipes, mixers))
    return [r for r in checks if r is not None]


def _resolution(trainings: pd.DataFrame, small: str, large: str, recipes: dict, mixers: dict) -> Resolution | None:
    tables = [_accuracies(trainings[trainings.fidelity == name], list(mixers)) for name in (small, large)]
    names = [n for n in mixers if all(t.loc[n].notna().all() and (t.loc[n] > FAILED).all() for t in tables)]
    if len(names) < FEWEST_RANKED:
        return None
    a, b = (t.loc[names] for t in tables)
    ones = np.ones((1, len(names)))

    def tau(x: pd.DataFrame, y: pd.DataFrame) -> float:
        return float(agreement(pairs_of(x, y), ones, kendall, keep=lambda truth: np.isfinite(truth))[0])

    ranks = pd.DataFrame({"small": a.mean(axis=1).rank(ascending=False), "large": b.mean(axis=1).rank(ascending=False)})
    farthest = (ranks.large - ranks.small).abs().sort_values(ascending=False, kind="stable").index[:MOVERS]
    alone = a.shape[1] < 2
    return Resolution(
        small,
        large,
        (recipes[small].full_size, recipes[large].full_size),
        (tau(a, b) + tau(b, a)) / 2,
        (np.nan, np.nan) if alone else (tau(a, a), tau(b, b)),
        _by_mixer(ranks, mixers),
        [(n, round(ranks.small[n]), round(ranks.large[n])) for n in farthest],
    )


def _by_mixer(ranks: pd.DataFrame, mixers: dict[str, set[str]]) -> pd.DataFrame:
    rows = {}
    for mixer in MIXERS:
        held = ranks.loc[[name for name in ranks.index if mixer in mixers[name]]]
        if len(held):
            rows[mixer] = {"architectures": len(held), "small": held.small.mean(), "large": held.large.mean()}
    return pd.DataFrame.from_dict(rows, orient="index")
