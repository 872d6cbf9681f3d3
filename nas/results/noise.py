"""How far an accuracy could be off, and so which networks are tied."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from nas.errors import NasError
from nas.search.folder import RunFolder, read_run
from nas.search.trainings import calibrated_as
from nas.training.data import read_manifest

Z = 1.96  # a normal distribution has 95 % within


class Noise(NamedTuple):
    """What is known of the noise in a run's accuracies."""

    images: int | None = None
    """Search-validation images; None where no manifest says."""
    seeds: float | None = None
    """Standard deviation between seeds; None where no calibration measured it."""

    def __str__(self) -> str:
        if self.images is None:
            return "no interval: the run holds no manifest"
        if self.seeds is None:
            return (
                f"95 % interval from the {self.images:,} images judged by alone; seeds add to it, and nobody measured how much"
            )
        return f"95 % interval from the {self.images:,} images judged by and the {100 * self.seeds:.1f} points between seeds"


def noise_of(folder: RunFolder) -> Noise:
    """What the run's manifest and its calibration say; a file that cannot be read says nothing."""
    images = len(_read(folder.manifest).get("validation", ())) or None
    return Noise(images, None if images is None else _between_seeds(folder))


def _between_seeds(folder: RunFolder) -> float | None:
    """The noise of the calibrated fidelity that trains as the run does, on its images."""
    found = _read(folder.calibration / "calibration.json")
    try:
        name = calibrated_as(found, read_run(folder.root)[1].proxy, manifest=read_manifest(folder.manifest).hash)
        noise = found["fidelities"][name]["noise"] if name else None
    except (KeyError, TypeError, NasError):  # no calibration, or none that can be read
        return None
    return float(noise) if isinstance(noise, int | float) else None


def _read(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def interval(accuracy: pd.Series, noise: Noise) -> tuple[pd.Series, pd.Series]:
    """Lower and upper end of each accuracy's 95 % interval, NaN where nothing is known of the noise.

    Wilson's interval for the images (JASA 22, 1927), widened by the spread between seeds as independent errors add.
    """
    if noise.images is None:
        nothing = pd.Series(np.nan, index=accuracy.index)
        return nothing, nothing
    n, seeds = noise.images, Z * (noise.seeds or 0.0)
    centre = (accuracy + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(accuracy * (1 - accuracy) / n + Z**2 / (4 * n**2))
    low = accuracy - np.hypot((accuracy - centre + half).clip(lower=0), seeds)
    high = accuracy + np.hypot((centre + half - accuracy).clip(lower=0), seeds)
    return low.clip(0, 1), high.clip(0, 1)


def tied(trials: pd.DataFrame, best: pd.DataFrame, x: str = "macs") -> pd.DataFrame:
    """The complete affordable trials off the front that could be on it: no cheaper one is better by more than the noise.

    The noise of a difference is that of both accuracies together. Empty where no interval is known.
    """
    able = trials[(trials["state"] == "complete") & trials["affordable"].astype(bool) & ~trials.index.isin(best.index)]
    able = able.dropna(subset=[x, "accuracy", "accuracy_low"])
    if not len(able) or not len(best):
        return able.iloc[:0]
    gap = best["accuracy"].to_numpy()[:, None] - able["accuracy"].to_numpy()  # (front, N)
    below = (best["accuracy"] - best["accuracy_low"]).to_numpy()[:, None]
    above = (able["accuracy_high"] - able["accuracy"]).to_numpy()
    cheaper = best[x].to_numpy()[:, None] <= able[x].to_numpy()
    beaten = (cheaper & (gap > np.hypot(below, above))).any(axis=0)
    return able[~beaten].sort_values([x, "accuracy"], ascending=[True, False])
