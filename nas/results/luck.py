"""What is left of an accuracy once its luck is taken out: who is picked because a number is high is rarely as good."""

import numpy as np
import pandas as pd

from nas.results.noise import Noise, paired_variance
from nas.results.points import searched, trend

FEWEST_PEERS = 8  # searched trainings below which nothing is said of their luck


def expected_accuracies(trials: pd.DataFrame, noise: Noise) -> pd.Series:
    """What each complete trial would reach with other seeds and images, as far as its peers can tell.

    The distance of a searched trial to what its MACs alone would give is shrunk by the share of its variance that is noise
    (empirical Bayes; Efron and Morris, JASA 70, 1975). Baselines were not picked, and means over other seeds have no luck left:
    they stay as they are.
    """
    expected = trials["accuracy"].copy()
    able = searched(trials)
    if len(able) < FEWEST_PEERS or noise.images is None:
        return expected
    usual = trend(able)
    gaps = able["accuracy"] - usual
    kept = kept_share(float(gaps.var()), noise_variance(able, noise))
    picked = able.index[able["replicates"] == 0]
    expected.loc[picked] = usual[picked] + kept * gaps[picked]
    return expected


def kept_share(total: float, by_noise: float) -> float:
    """The share of a variance that is no noise; 0 where noise alone would bring as much."""
    return max(0.0, 1 - by_noise / total) if total > 0 else 0.0


def noise_variance(trials: pd.DataFrame, noise: Noise) -> float:
    """Of an accuracy by its own luck alone: what moves all networks together, such as hard images, picks none of them."""
    assert noise.images is not None, "without images nothing is known"
    paired = paired_variance(trials, trials)
    apart = paired[~np.isnan(paired) & ~np.eye(len(trials), dtype=bool)]
    accuracy = trials["accuracy"].to_numpy(float)
    images = float(apart.mean()) / 2 if len(apart) else float((accuracy * (1 - accuracy)).mean() / noise.images)
    return images + (noise.seeds or 0.0) ** 2
