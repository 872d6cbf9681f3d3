"""What a search is ahead of: the best family of hand-made designs at equal cost, drawn as lines through its trained members."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from nas.results.columns import axis_label
from nas.results.noise import Right, Z
from nas.results.points import complete
from nas.space.costs import cost_kind
from nas.space.families import is_scaled

COST_STEPS = 60  # costs, evenly spaced on a logarithm, at which the two are compared


class Lead(NamedTuple):
    """The search's front less the best family, at costs that both reach, in shares of 1."""

    costs: np.ndarray
    """`(steps,)`."""
    points: np.ndarray
    """How far the front is ahead, `(steps,)`."""
    half: np.ndarray
    """Half the 95 % interval of each, `(steps,)`; NaN where nothing is known of the noise."""
    families: tuple[str, ...]
    """Which family was the best, `(steps,)`."""
    mean: float
    """Over the range."""
    mean_half: float
    """Half the 95 % interval of the mean."""

    @property
    def is_ahead(self) -> np.ndarray:
        """Where the front is ahead by more than the noise."""
        return self.points > self.half

    @property
    def is_behind(self) -> np.ndarray:
        """Where it is behind by more than the noise."""
        return self.points < -self.half

    @property
    def shares(self) -> dict[str, float]:
        """The shares of the range in which it is ahead, tied and behind."""
        ahead, behind = float(self.is_ahead.mean()), float(self.is_behind.mean())
        return {"ahead": ahead, "tied": 1.0 - ahead - behind, "behind": behind}

    def in_words(self, cost: str) -> str:
        """One sentence for a reader, about costs of the kind `cost`."""
        write, mean = cost_kind(cost).write, 100 * self.mean
        head = f"against the best family at equal {axis_label(cost)}, {write(self.costs[0])} to {write(self.costs[-1])}"
        if np.isnan(self.mean_half):
            return f"{head}: {mean:+.1f} points on average; how much of that is noise is not known"
        half, shares = 100 * self.mean_half, self.shares
        verdict = "tied" if abs(mean) <= half else "ahead" if mean > 0 else "behind"
        named = f"{verdict}, {mean:+.1f} points on average [{mean - half:+.1f}, {mean + half:+.1f}]"
        parts = ", ".join(f"{word} in {100 * share:.0f} %" for word, share in shares.items())
        return f"{head}: {named}; {parts} of the range (the best: {', '.join(dict.fromkeys(self.families))})"


def family_lines(baselines: pd.DataFrame, cost: str) -> list[pd.DataFrame]:
    """The trained members of each family that was scaled to several costs, cheapest first."""
    members = baselines[baselines["baseline"].map(is_scaled).astype(bool)].dropna(subset=[cost])
    families = members.groupby(members["baseline"].map(family_of), sort=False)
    return [rows.sort_values(cost) for _, rows in families if rows[cost].nunique() > 1]


def family_of(name: str) -> str:
    """The family that a scaled design is of."""
    return name.partition("@")[0]


def lead_over_families(trials: pd.DataFrame, best: pd.DataFrame, cost: str = "macs") -> Lead | None:
    """How far the searched networks of the front `best` are ahead of the best family at equal `cost`; None where there is none.

    Between two members a family's accuracy is taken from the line through both, over the logarithm of the cost. At each cost
    the front stands with its most accurate network that costs no more. Its accuracies are the expected ones: who was picked
    from many is lucky. The noise is that of the differences on the same images, and of the seeds where their spread is known.
    """
    done = complete(trials)
    lines = family_lines(done[done["baseline"].notna()], cost)
    front = best[best["baseline"].isna()].dropna(subset=[cost]).sort_values(cost)
    if not lines or not len(front):
        return None
    rows = pd.concat([front, *lines])
    low = max(front[cost].min(), min(line[cost].min() for line in lines))
    costs = np.geomspace(low, max(line[cost].max() for line in lines), COST_STEPS)
    if costs[0] > costs[-1]:
        return None
    place = {index: i for i, index in enumerate(rows.index)}
    ours = _front_weights(front, costs, cost, place)
    theirs, families = _family_weights(lines, costs, cost, place)
    weights = ours - theirs  # (steps, rows)
    values = np.where(rows["baseline"].isna(), rows["expected"], rows["accuracy"]).astype(float)
    halves = _half_intervals(np.vstack([weights, weights.mean(axis=0)]), rows)
    points = weights @ values
    return Lead(costs, points, halves[:-1], families, float(points.mean()), float(halves[-1]))


def _front_weights(front: pd.DataFrame, costs: np.ndarray, cost: str, place: dict) -> np.ndarray:
    """`(steps, rows)`: 1 for the most accurate network of the front that costs no more."""
    weights = np.zeros((len(costs), len(place)))
    able = front[cost].to_numpy(float) <= costs[:, None] * (1 + 1e-9)  # (steps, front)
    chosen = np.where(able, front["expected"].to_numpy(float), -np.inf).argmax(axis=1)
    weights[np.arange(len(costs)), [place[front.index[i]] for i in chosen]] = 1.0
    return weights


def _family_weights(lines: list[pd.DataFrame], costs: np.ndarray, cost: str, place: dict) -> tuple[np.ndarray, tuple[str, ...]]:
    """`(steps, rows)`: the two members between which the best family lies at each cost; and which family that is.

    A family counts between its members, and its dearest one beyond, as a front does.
    """
    each, accuracies = [], []
    for line in lines:
        members, accuracy = np.log(line[cost].to_numpy(float)), line["accuracy"].to_numpy(float)
        hats = np.column_stack([np.interp(np.log(costs), members, unit) for unit in np.eye(len(line))])  # (steps, members)
        weights = np.zeros((len(costs), len(place)))
        weights[:, [place[i] for i in line.index]] = hats
        each.append(weights)
        accuracies.append(np.where(costs >= line[cost].min() * (1 - 1e-9), hats @ accuracy, -np.inf))
    best = np.argmax(accuracies, axis=0)  # (steps,)
    names = [family_of(line["baseline"].iloc[0]) for line in lines]
    return np.stack(each)[best, np.arange(len(costs))], tuple(names[i] for i in best)


def _half_intervals(weights: np.ndarray, rows: pd.DataFrame) -> np.ndarray:
    """Half the 95 % interval of weighted sums of accuracies `(sums, rows)`; NaN where the answers are not known.

    As between two networks (`nas.results.noise.paired_variance`), half an image is added to each case.
    """
    rights = rows["right"].tolist() if "right" in rows else []
    if not rights or not all(isinstance(right, Right) and right.images == rights[0].images for right in rights):
        return np.full(len(weights), np.nan)
    answers, number = weights @ np.stack([right.shares() for right in rights]).astype(float), rights[0].number  # (sums, images)
    squares = (answers**2).sum(axis=1) + (weights**2).sum(axis=1) / 2
    images = (squares / (number + 2) - (answers.sum(axis=1) / (number + 2)) ** 2) / (number + 2)
    seeds = (weights**2) @ (rows["seed_margin"].fillna(0.0).to_numpy(float) ** 2)
    return np.sqrt(Z**2 * images.clip(min=0) + seeds)
