"""Which choices matter: what is left of accuracy once MACs are taken out, by axis, by stage and mixer."""

import warnings
from typing import Any

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState, create_trial

from nas.results.points import searched, trend
from nas.results.trials import stage_columns
from nas.run.settings.search import Search

FEWEST_TRAININGS = 20  # finished trainings below which no importance is given
MOST = 1000  # trainings looked at; more are drawn from evenly
SHUFFLES = 40
TOP = 0.25  # share of the trainings that counts as good


def at_equal_macs(trials: pd.DataFrame) -> pd.Series:
    """Accuracy of each complete searched trial above what its MACs alone would give."""
    able = searched(trials)
    return able["accuracy"] - trend(able)


def choices(trials: pd.DataFrame, search: Search) -> list[dict[str, Any]]:
    """For each row the space's open choices by name, those without effect in it or on the proxy's maps left out."""
    columns = {name: name.replace(".", "_") for name in asked(search)}
    present = {name: column for name, column in columns.items() if column in trials}
    rows = trials[list(present.values())].itertuples(index=False)
    return [{name: value for name, value in zip(present, row, strict=True) if not pd.isna(value)} for row in rows]


def asked(search: Search) -> dict[str, tuple]:
    """The space's open choices, but for those that make no difference on the proxy's maps."""
    return {name: options for name, options in search.space.axes.items() if search.seen.is_told_apart(name)}


def importances(trials: pd.DataFrame, search: Search, *, seed: int = 0) -> pd.DataFrame:
    """Share of each axis in what makes the best quarter, largest first: `axis`, `share`, `chance`.

    PED-ANOVA (arXiv:2304.10255) of accuracy at equal MACs, its conditional form where a choice depends on others. `chance` is
    the 95 % quantile of the largest share of any axis when accuracies are shuffled, so that of all axes together one in twenty
    reports has a share above it without a cause. Empty for fewer than 20 trainings.
    """
    rows, rng = searched(trials), np.random.default_rng(seed)
    if len(rows) < FEWEST_TRAININGS or not asked(search):
        return pd.DataFrame(columns=["axis", "share", "chance"])
    if len(rows) > MOST:
        rows = rows.loc[np.sort(rng.choice(rows.index, MOST, replace=False))]
    better = at_equal_macs(trials).loc[rows.index].to_numpy()
    study = _study(choices(rows, search), search)
    shares = _shares(study, better)
    chance = float(np.quantile([max(_shares(study, rng.permutation(better)).values()) for _ in range(SHUFFLES)], 0.95))
    table = pd.DataFrame({"axis": list(shares), "share": list(shares.values())})
    return table.assign(chance=chance).sort_values("share", ascending=False, ignore_index=True)


def _study(taken: list[dict[str, Any]], search: Search) -> optuna.Study:
    """A study in memory that holds the choices alone, in their order."""
    kinds = {name: CategoricalDistribution([_plain(o) for o in options]) for name, options in asked(search).items()}
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # or it tells of a study that nobody asked for
    study = optuna.create_study()
    for params in taken:
        plain = {n: _plain(v) for n, v in params.items()}
        trial = create_trial(state=TrialState.COMPLETE, value=0.0, params=plain, distributions={n: kinds[n] for n in params})
        study.add_trial(trial)
    return study


def _shares(study: optuna.Study, better: np.ndarray) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it looks for low targets
        importance = PedAnovaImportanceEvaluator(target_quantile=TOP).evaluate(study, target=lambda t: -better[t.number])
    total = sum(importance.values()) or 1.0
    return {name: value / total for name, value in importance.items()}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else str(value)


def effects(trials: pd.DataFrame, search: Search) -> pd.DataFrame:
    """A row an option of each axis: `axis`, `option`, `trials`, `effect` at equal MACs; `best`.

    An effect is the mean distance to what the same MACs give on average, in shares of 1; `best` counts the best quarter's. It
    describes what was tried and has no interval: a search that breeds tries good options together, so that an option without
    effect goes with others' (experiments/report/luck.py measures how often).
    """
    better = at_equal_macs(trials)
    rows = pd.DataFrame(choices(trials.loc[better.index], search), index=better.index)
    top = better >= better.quantile(1 - TOP) if len(better) else better
    table = []
    for axis, options in asked(search).items():
        column = rows[axis] if axis in rows else pd.Series(dtype=object)
        for option in options:
            values = better[column[column == option].index]
            mean = values.mean() if len(values) else np.nan
            table.append((axis, option, len(values), mean, int(top[values.index].sum())))
    return pd.DataFrame(table, columns=["axis", "option", "trials", "effect", "best"])


def by_stage_and_mixer(trials: pd.DataFrame, search: Search) -> pd.DataFrame:
    """A row for each mixer of each stage whose maps have more than one position: `stage`, `mixer`, `trials` and `effect` at
    equal MACs, as in `effects`."""
    better = at_equal_macs(trials)
    rows, table = trials.loc[better.index], []
    for stage, column in stage_columns(trials, "mixer").items():
        if not search.seen.is_told_apart(f"stage{stage}.mixer"):
            continue
        for mixer, index in rows.groupby(column).groups.items():
            values = better[index]
            table.append((stage, mixer, len(values), values.mean()))
    return pd.DataFrame(table, columns=["stage", "mixer", "trials", "effect"])
