"""What to change next, each line with its evidence."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from nas.report.importance import FEWEST_TRAININGS
from nas.results.columns import axis_label
from nas.results.course import failures, flat_for
from nas.results.noise import tied
from nas.results.points import searched
from nas.run.record import TRAINED
from nas.run.settings.search import Search
from nas.space.constraints import limit_path
from nas.space.costs import cost_kind, limited_by
from nas.units import percent

SURE = 0.01  # the chance of a pattern like this without a cause, shared among everything that is tested
RARE = 3  # trainings of an option below which it was not explored
CLOSE = 0.03  # distance to a limit, relative, at which it binds
MANY_TIES = 3
LEAST = 1e-6  # of a cost that does not come in whole units


class Advice(NamedTuple):
    """One line for the reader."""

    what: str
    """widen, drop, loosen, explore, stop, go on, mend, harder or measure."""
    text: str
    evidence: str


def advise(
    trials: pd.DataFrame,
    best: pd.DataFrame,
    search: Search,
    *,
    effects: pd.DataFrame,
    importances: pd.DataFrame,
    course: pd.DataFrame,
    calibrated: bool,
) -> list[Advice]:
    """What the data asks for, nothing where it asks for nothing; `best` is the front."""
    matters = set(importances["axis"][importances["share"] > importances["chance"]])
    rules = (
        _failures(trials),
        _budget(course, search),
        _limits(best, search),
        _choices(effects, matters, len(searched(trials))),
        _gaps(trials, best, search.objectives[1]),
        _difficulty(trials, best, search.objectives[1:]),
        _trust(search, calibrated=calibrated),
    )
    return [line for rule in rules for line in rule]


def _failures(trials: pd.DataFrame) -> Iterator[Advice]:
    num_trained = int(trials["state"].isin(TRAINED).sum())
    kinds = failures(trials)
    num_failed = int(kinds["trials"].sum())
    if num_trained and num_failed / num_trained >= 0.1:
        most = kinds.iloc[0]
        yield Advice(
            "mend",
            f"Look into the failures first: most are “{most['kind']}”.",
            f"{num_failed} of {num_trained} trainings failed, {most['trials']} so.",
        )


def _budget(course: pd.DataFrame, search: Search) -> Iterator[Advice]:
    course = course[course["whole"]]
    number, flat = len(course), flat_for(course)
    if number < FEWEST_TRAININGS:
        return
    if flat >= max(FEWEST_TRAININGS, number // 3):
        yield Advice(
            "stop",
            "More trainings of this search hardly pay: change the space or the proxy instead.",
            f"the last {flat} of {number} whole trainings raised the hypervolume by less than 0.2 %.",
        )
    elif flat < number // 10:
        half = course["hypervolume"].iloc[number // 2]
        gain = course["hypervolume"].iloc[-1] / half - 1 if half > 0 else 0.0
        yield Advice(
            "go on",
            f"The front still moves: set search.trials above {search.trials} and give the same command again.",
            f"the second half of the whole trainings raised the hypervolume by {percent(gain)}, the last {flat} did not.",
        )


def _limits(best: pd.DataFrame, search: Search) -> Iterator[Advice]:
    for name, limits in search.constraints.limits.items():
        limit = limits.max
        if not limit or not len(best):
            continue
        close = best[best[limited_by(name)] >= (1 - CLOSE) * limit]
        if best["expected"].idxmax() in close.index:
            yield Advice(
                "loosen",
                f"constraints.{limit_path(name)}.max binds: raise it if a dearer network would do.",
                f"the most accurate network of the front is within {CLOSE:.0%} of the limit of {cost_kind(name).write(limit)}.",
            )


def _choices(effects: pd.DataFrame, matters: set[str], number: int) -> Iterator[Advice]:
    """Advice on axes; to change one only where it goes with what is good more than chance would bring: a search that breeds
    fills its best quarter with relatives, who share an option whether it helps or not."""
    if number < FEWEST_TRAININGS:
        return
    for axis, options in effects.groupby("axis", sort=False):
        yield from _rare(axis, options, number)
        if axis not in matters:
            continue
        yield from _edge(axis, options, tests=2 * effects["axis"].nunique())  # either end of each
        yield from _useless(axis, options, tests=len(effects))


def _rare(axis: str, options: pd.DataFrame, number: int) -> Iterator[Advice]:
    rare = options[options["trials"] < RARE]
    if len(rare) and number >= FEWEST_TRAININGS * 2:
        named = ", ".join(f"{o} ({n})" for o, n in zip(rare["option"], rare["trials"], strict=True))
        yield Advice(
            "explore",
            f"some options of {axis} were hardly tried: add start points or trainings.",
            f"finished trainings of {named}.",
        )


def _edge(axis: str, options: pd.DataFrame, *, tests: int) -> Iterator[Advice]:
    """Advice where the best quarter crowds at the smallest or largest of an axis' numbers."""
    numbers = [isinstance(o, int | float) and not isinstance(o, bool) for o in options["option"]]
    if not all(numbers) or len(options) < 3:
        return
    options = options.sort_values("option")
    for which, row in (("largest", options.iloc[-1]), ("smallest", options.iloc[0])):
        good, tried = int(options["best"].sum()), int(options["trials"].sum())
        if not good or not row["trials"] or row["trials"] == tried:
            continue
        if binomtest(int(row["best"]), good, row["trials"] / tried, alternative="greater").pvalue < SURE / tests:
            yield Advice(
                "widen",
                f"{axis}: widen it beyond its {which} value, {row['option']:g}.",
                f"{percent(row['best'] / good)} of the best quarter at equal MACs have it, of all trainings "
                f"{percent(row['trials'] / tried)}.",
            )


def _useless(axis: str, options: pd.DataFrame, *, tests: int) -> Iterator[Advice]:
    """Advice on options that were tried, did worse than average and were never among the best."""
    if (options["trials"] > 0).sum() < 2:
        return
    for row in options.itertuples():
        did_worse = row.trials >= 5 and row.effect < 0 and row.best == 0
        others = options[options["option"] != row.option]
        share = others["best"].sum() / max(others["trials"].sum(), 1)
        if did_worse and (1 - min(share, 1.0)) ** row.trials < SURE / tests:
            yield Advice(
                "drop",
                f"{axis}: think of dropping {row.option}; it never helped at equal MACs.",
                f"{row.trials} trainings, on average {-100 * row.effect:.1f} points below equal MACs, none among the best.",
            )


def _gaps(trials: pd.DataFrame, best: pd.DataFrame, cost: str) -> Iterator[Advice]:
    """Advice where the front has a gap that chance would rarely leave, and hardly anything was trained within it."""
    kind = cost_kind(cost)
    values = np.unique(best[cost].to_numpy(float).clip(min=1 if kind.is_whole else LEAST))
    steps = np.diff(np.log(values))
    if len(steps) < 3:
        return
    widest = int(steps.argmax())
    low, high, share = values[widest], values[widest + 1], steps[widest] / steps.sum()
    inside = int(searched(trials)[cost].between(low, high, inclusive="neither").sum())
    if inside < RARE and _chance_of_gap(share, len(steps)) < SURE:
        yield Advice(
            "explore",
            f"Nothing on the front lies between {kind.write(low)} and {kind.write(high)} {axis_label(cost)}: search "
            f"there with constraints.{limit_path(cost)}.",
            f"that is {percent(share)} of the front's range on a logarithmic scale, with {inside} finished trainings in it.",
        )


def _chance_of_gap(share: float, steps: int) -> float:
    """How often points drawn evenly over a range leave a gap of at least that share, where they cut it into so many steps."""
    terms = range(1, math.floor(1 / share) + 1)
    return sum((-1) ** (k + 1) * math.comb(steps, k) * max(0.0, 1 - k * share) ** (steps - 1) for k in terms)


def _difficulty(trials: pd.DataFrame, best: pd.DataFrame, costs: tuple[str, ...]) -> Iterator[Advice]:
    if not len(best) or best["accuracy_low"].isna().all():
        return
    others = tied(trials, best, *costs)
    if len(others) >= MANY_TIES * len(best):
        half = 100 * float((best["accuracy_high"] - best["accuracy_low"]).mean()) / 2
        yield Advice(
            "harder",
            "The proxy cannot tell the best apart: judge by more images, train longer, or take harder data.",
            f"{len(others)} more networks could be on the front of {len(best)}; an accuracy is known to ± {half:.1f} points.",
        )


def _trust(search: Search, *, calibrated: bool) -> Iterator[Advice]:
    if not calibrated:
        yield Advice(
            "measure",
            "Measure how far the proxy's ranking can be trusted before you take a network, with the verb calibrate.",
            f"no calibration of this recipe ({search.proxy.epochs} epochs at {search.proxy.full_size} px) lies in the run.",
        )
