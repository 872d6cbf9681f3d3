"""Where found networks stand against the best of several families at equal MACs."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from nas.units import count

STEPS = 60  # costs, evenly over a logarithm, at which lines are compared
POINTS = 0.02  # a lead that is wanted


class Lead(NamedTuple):
    """At one cost; accuracies lie on lines through networks, over the logarithm of MACs."""

    weights: np.ndarray
    """`(networks,)`: what, times the networks' accuracies, adds up to the lead."""
    family: str
    """The best there."""
    theirs: float
    """Its accuracy."""


def means_of(done: pd.DataFrame) -> pd.DataFrame:
    """By network: family, MACs, mean accuracy over its seeds and that mean's variance, from seeds and test images."""
    networks = done.groupby("name")
    means = networks.agg(
        family=("family", "first"),
        macs=("macs", "first"),
        accuracy=("accuracy", "mean"),
        seeds=("seed", "size"),
        images=("test_images", "first"),
    )
    spread = networks["accuracy"].var().mean()  # between seeds, pooled over the networks that have two; else not known
    means["variance"] = spread / means["seeds"] + means["accuracy"] * (1 - means["accuracy"]) / means["images"]
    return means


def lines_about(means: pd.DataFrame, *, ours: str) -> list[str]:
    """What there is to say of each found network and of the line through them, whose family is called `ours`."""
    found = means[means["family"] == ours].sort_values("macs")
    told = []
    for name, row in found.iterrows():
        lead = lead_at(means, row["macs"], ours=ours)
        there = "no family has a member as cheap"
        if lead is not None:
            there = f"the best family there, {lead.family}, {lead.theirs:.1%}; {in_points(lead.weights, means)}"
        told.append(f"{name} at {count(int(row['macs']))} MACs: {row['accuracy']:.1%}; {there}")
    families = means[means["family"] != ours]
    if len(found) and len(families):
        low = max(found["macs"].min(), families["macs"].min())
        told.append(over_the_range(means, np.geomspace(low, max(low, families["macs"].max()), STEPS), ours=ours))
    return told


def lead_at(means: pd.DataFrame, macs: float, *, ours: str) -> Lead | None:
    """None at a cost below the found networks or all families."""
    lines = {str(family): line_at(means, str(family), macs) for family in means["family"].unique()}
    own = lines.pop(ours, None)
    theirs = {family: float(weights @ means["accuracy"]) for family, weights in lines.items() if weights is not None}
    if own is None or not theirs:
        return None
    best = max(theirs, key=lambda family: theirs[family])
    return Lead(own - lines[best], best, theirs[best])


def line_at(means: pd.DataFrame, family: str, macs: float) -> np.ndarray | None:
    """`(networks,)`: the weights of the two members on both sides of a cost, or of the dearest, which serves beyond as well.

    None below the cheapest.
    """
    members = means[means["family"] == family].sort_values("macs")
    if macs * (1 + 1e-9) < members["macs"].iloc[0]:
        return None
    logs = np.log(members["macs"].to_numpy(float))
    shares = pd.Series([np.interp(np.log(macs), logs, unit) for unit in np.eye(len(logs))], index=members.index)
    return shares.reindex(means.index, fill_value=0.0).to_numpy()


def over_the_range(means: pd.DataFrame, costs: np.ndarray, *, ours: str) -> str:
    """How far the line through the found networks is ahead on average, and in how much of the costs."""
    leads = [lead for macs in costs if (lead := lead_at(means, macs, ours=ours)) is not None]
    weights = np.array([lead.weights for lead in leads])  # (steps, networks)
    points, half = weights @ means["accuracy"], half_interval(weights, means)
    shares = {f"at least {100 * POINTS:.0f} ahead": points >= POINTS}
    if not np.isnan(half).any():
        shares |= {"cost by cost ahead by more than the noise": points > half, "behind by more than it": points < -half}
    of_costs = ", ".join(f"{words} in {where.mean():.0%}" for words, where in shares.items())
    low, high = (count(int(macs)) for macs in (costs[0], costs[-1]))
    ahead = in_points(weights.mean(axis=0), means)
    return f"the line through the found networks, {low} to {high} MACs: {ahead} on average; {of_costs} of these costs"


def in_points(weights: np.ndarray, means: pd.DataFrame) -> str:
    """A difference of accuracies with its 95 % interval, which is not known before a network has two seeds."""
    half = half_interval(weights, means)
    spread = " (one seed: noise not known)" if np.isnan(half) else f" ± {100 * half:.1f}"
    return f"{100 * float(weights @ means['accuracy']):+.1f}{spread} points"


def half_interval(weights: np.ndarray, means: pd.DataFrame) -> np.ndarray:
    """Half the 95 % interval of weighted sums of accuracies; that networks share test images is left out, which widens it."""
    return 1.96 * np.sqrt(np.square(weights) @ means["variance"].to_numpy(float))
