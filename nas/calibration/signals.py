"""Which number of a training to trust: each fidelity's signals against the truth, and the best that they say together."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nas.calibration.ranking import (
    FAILED,
    Estimate,
    Pairs,
    agreement,
    estimate,
    kendall,
    resamples,
    truths,
    upper_half,
)
from nas.recipes.signals import LOSSES, MEAN_OF_LOSSES, RANKING_SIGNALS
from nas.space.architecture import Architecture

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline  # takes a while to import

COMBINED = "combined"
UNTRAINED = "untrained"
HEADINGS = {name: signal.heading for name, signal in RANKING_SIGNALS.items()}
HEADINGS |= {MEAN_OF_LOSSES: "mean of the losses", COMBINED: "combined"}

BAND = 1.3  # largest over smallest MACs of two networks that a front has to tell apart
FIRST = 3  # of which the best counts as what a signal finds
FEWEST_TO_LEARN_FROM = 10  # architectures below which nothing is combined
FOLDS, FOLDINGS = 10, 5  # each network is predicted once a folding; statistics are the means over foldings
RIDGE_PENALTIES = np.logspace(-1, 3, 9)  # of the ridge regression, chosen by leaving one out within the other folds
STATISTICS = ("tau", "top", "band", "repeats", "over_params", "over_macs", "over_accuracy", "regret")


def heading(signal: str) -> str:
    """A signal or score as a table calls it."""
    return HEADINGS.get(signal, signal)


def of_one_training(signals: pd.DataFrame) -> pd.DataFrame:
    """The rows of `trust` that a search can rank by, which has no long trainings of other networks to learn from."""
    return signals[signals.signal != COMBINED]


def trust(
    trainings: pd.DataFrame,
    costs: pd.DataFrame,
    reference: pd.DataFrame | pd.Series,
    *,
    trains: np.ndarray,
    scores: pd.DataFrame | None = None,
    stages: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """One row a fidelity and signal: how it ranks the architectures of `reference` that train, each with a 95 % interval.

    `tau`: Kendall's tau-b to the truth; `top`: in its upper half; `band`: over pairs whose MACs differ by at most a factor of
    1.3, which is what a front asks; `repeats`: between two seeds of the signal; `over_params`, `over_macs`, `over_accuracy`:
    tau less that of the cost, or of the same trainings' accuracy; `regret`: how much worse the best of the first three is than
    the best of all. `mean_of_losses` weighs the three losses evenly, each over its standard deviation; `combined` is predicted
    by a ridge regression from all signals, log MACs, log params and `stages` (`stage_features`), for architectures that it has
    not learnt from (its intervals take the predictions as they are). `scores`, a column each beside name and seed, are of
    untrained networks, the fidelity "untrained".
    """
    names = list(reference.index[trains])
    reference, costs = reference.loc[names], costs.loc[names]
    weights = resamples(len(names))
    among = _in_band(costs["macs"].to_numpy(float))
    rows = []
    untrained = {} if scores is None or scores.empty else {UNTRAINED: _scored(scores, names)}
    by_fidelity = {str(name): _tables(own, names) for name, own in trainings.groupby("fidelity", sort=False)}
    for fidelity, tables in {**untrained, **by_fidelity}.items():
        seeds = list(next(iter(tables.values())).columns)
        truth = truths(reference, seeds)
        facts = np.log(costs) if stages is None else pd.concat([np.log(costs), stages.loc[names]], axis=1)
        tables |= _mean(tables)
        versions = {signal: [table] for signal, table in tables.items()} | _combined(tables, facts, truth)
        floors = {cost: _tau([(costs[cost].to_numpy(float), y) for y in truth.values()], weights) for cost in costs}
        own = _pairs(tables["accuracy"], truth) if "accuracy" in tables else []
        floors["accuracy"] = _tau(own, weights)
        for signal, several in versions.items():
            draws = [_draws(_pairs(table, truth), table, weights, among, floors) for table in several]
            rows.append({"fidelity": fidelity, "signal": signal} | _row(draws))
    return pd.DataFrame(rows, columns=["fidelity", "signal", *_columns()])


def stage_features(architectures: Mapping[str, Architecture]) -> pd.DataFrame:
    """What the stages of each network are, as numbers: a column a setting, or a setting's value where it is a word."""
    rows = [
        {
            f"stage{i}.{setting}": value
            for i, stage in enumerate(each.to_dict()["stages"], 1)
            for setting, value in stage.items()
        }
        for each in architectures.values()
    ]
    columns = pd.get_dummies(pd.DataFrame(rows, index=list(architectures)), dtype=float).astype(float).fillna(0.0)
    return columns.loc[:, columns.nunique() > 1]


def _columns() -> list[str]:
    return [f"{name}{end}" for name in STATISTICS for end in ("", "_low", "_high")]


def _row(draws: list[dict[str, np.ndarray]]) -> dict[str, float]:
    """Each statistic with its interval, a mean over several versions of a signal."""
    means = {name: np.mean([each[name] for each in draws], axis=0) for name in STATISTICS}
    return {key: value for name in STATISTICS for key, value in _flat(name, estimate(means[name])).items()}


def _draws(
    pairs: Pairs, table: pd.DataFrame, weights: np.ndarray, among: np.ndarray, floors: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Each statistic of one signal, of the sample and of each resample."""
    tau = _tau(pairs, weights)
    return {
        "tau": tau,
        "top": agreement(pairs, weights, kendall, keep=upper_half),
        "band": _tau(pairs, weights, among=among),
        "repeats": _tau(_seed_pairs(table), weights),
        "over_params": tau - floors["params"],
        "over_macs": tau - floors["macs"],
        "over_accuracy": tau - floors["accuracy"],
        "regret": _regret(pairs, weights),
    }


def _pairs(table: pd.DataFrame, truth: dict[int, np.ndarray]) -> Pairs:
    """For each seed a signal's values and the truth to compare them with."""
    return [(table[seed].to_numpy(float), y) for seed, y in truth.items() if seed in table]


def _flat(name: str, score: Estimate) -> dict[str, float]:
    return {name: score.value, f"{name}_low": score.low, f"{name}_high": score.high}


def _tau(pairs: Pairs, weights: np.ndarray, *, among: np.ndarray | None = None) -> np.ndarray:
    if among is None:
        return agreement(pairs, weights, kendall, keep=lambda truth: np.ones(len(truth), bool))
    whole = [(x, y) for x, y in pairs if np.isfinite(x).all() and np.isfinite(y).all()]
    return agreement(whole, weights, partial(kendall, among=among), keep=lambda truth: np.ones(len(truth), bool))


def _in_band(macs: np.ndarray) -> np.ndarray:
    """Which pairs of networks cost about the same: bool `(N, N)`."""
    logs = np.log(macs)
    return np.abs(logs[:, None] - logs[None, :]) <= np.log(BAND)


def _tables(own: pd.DataFrame, names: list[str]) -> dict[str, pd.DataFrame]:
    """Each signal of one fidelity as architectures x seeds; a failed training ranks last."""
    tables = {}
    for signal in (name for name in RANKING_SIGNALS if name in own):
        values = own[signal].mask(own["accuracy"] == FAILED)
        last = values.min() - 1
        filled = own.assign(value=values.where(own["accuracy"] != FAILED, last))
        tables[signal] = filled.pivot(index="name", columns="seed", values="value").reindex(names)
    return tables


def _scored(scores: pd.DataFrame, names: list[str]) -> dict[str, pd.DataFrame]:
    """Each score as networks x seeds."""
    values = [column for column in scores.columns if column not in ("name", "seed")]
    return {score: scores.pivot(index="name", columns="seed", values=score).reindex(names) for score in values}


def _mean(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The losses over their standard deviations, added up; nothing where one is not known."""
    if not set(LOSSES) <= set(tables):
        return {}
    scaled = [(tables[name] - tables[name].mean()) / (tables[name].std() + 1e-12) for name in LOSSES]
    return {MEAN_OF_LOSSES: sum(scaled[1:], start=scaled[0])}


def _combined(
    tables: dict[str, pd.DataFrame], facts: pd.DataFrame, truth: dict[int, np.ndarray]
) -> dict[str, list[pd.DataFrame]]:
    """What all signals and what is known untrained predict, by seed, a table a folding; nothing where there is too little to
    learn from."""
    predictions: list[dict[int, np.ndarray]] = [{} for _ in range(FOLDINGS)]
    for seed, y in truth.items():
        columns = [table[seed].to_numpy(float) for table in tables.values()]
        features = np.column_stack([*columns, facts.to_numpy(float)])
        able = np.isfinite(features).all(axis=1) & np.isfinite(y)
        if able.sum() >= FEWEST_TO_LEARN_FROM:
            for folding, by_seed in enumerate(predictions):
                by_seed[seed] = np.full(len(y), np.nan)
                by_seed[seed][able] = _predicted(features[able], y[able], folding=folding)
    return {COMBINED: [pd.DataFrame(each, index=facts.index) for each in predictions]} if predictions[0] else {}


def combination() -> "Pipeline":
    """What learns to foretell the truth from signals and what is known untrained."""
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), RidgeCV(RIDGE_PENALTIES))


def _predicted(features: np.ndarray, targets: np.ndarray, *, folding: int) -> np.ndarray:
    """For each row what a combination says that has learnt from the other folds."""
    from sklearn.model_selection import KFold, cross_val_predict

    folds = KFold(min(FOLDS, len(targets)), shuffle=True, random_state=folding)
    return np.asarray(cross_val_predict(combination(), features, targets, cv=folds))


def _seed_pairs(table: pd.DataFrame) -> Pairs:
    """A signal beside itself under every other seed, each pair once."""
    columns = [table[seed].to_numpy(float) for seed in table.columns]
    return [(columns[i], columns[j]) for i in range(len(columns)) for j in range(i)]


def _regret(pairs: Pairs, weights: np.ndarray) -> np.ndarray:
    """For the sample and each resample: the truth of the best less that of the best among the first three, mean over seeds."""
    by_seed = []
    for x, y in pairs:
        able = np.isfinite(x) & np.isfinite(y)
        if able.sum() <= FIRST:
            continue
        order = np.argsort(-x[able], kind="stable")
        drawn, truth = weights[:, able][:, order] > 0, y[able][order]
        first = drawn & (drawn.cumsum(axis=1) <= FIRST)
        best, chosen = (np.where(counted, truth, -np.inf).max(axis=1) for counted in (drawn, first))
        with np.errstate(invalid="ignore"):  # a resample without any of them has none
            by_seed.append(best - chosen)
    return np.mean(by_seed, axis=0) if by_seed else np.full(len(weights), np.nan)
