"""How far an accuracy could be off, and so which networks are tied."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from nas.calibration.record import calibrated_as
from nas.data.manifest import UNEVEN, read_manifest
from nas.errors import NasError
from nas.recipes.signals import MEAN_OF_LOSSES
from nas.results.points import finished, is_whole
from nas.run.additions import REPLICATE
from nas.run.reading import Reading
from nas.training.curve import unpacked_bits

Z = 1.96  # a normal distribution has 95 % within
FEWEST_FREEDOM = 2  # degrees of freedom from which replicates say how far seeds spread

AT_ONCE = 256  # networks compared at once: bounds the memory


class JudgedBy(NamedTuple):
    """The images that a run's networks are judged by."""

    labels: np.ndarray
    """int `(N,)`, in the manifest's order."""
    class_names: tuple[str, ...]

    @property
    def is_uneven(self) -> bool:
        """Whether accuracy alone says little, because most images are of one class."""
        return self.largest[1] > UNEVEN / len(self.class_names)

    @property
    def largest(self) -> tuple[str, float]:
        """The class with most of them, and its share: the accuracy of who always answers so."""
        numbers = np.bincount(self.labels, minlength=len(self.class_names))
        return self.class_names[int(numbers.argmax())], float(numbers.max() / len(self.labels))

    def balanced(self, right: np.ndarray) -> float:
        """The mean over the classes of the share that is right in each; `right` is `(N,)`."""
        numbers = np.bincount(self.labels, minlength=len(self.class_names))
        sums = np.bincount(self.labels, weights=right, minlength=len(self.class_names))
        return float((sums[numbers > 0] / numbers[numbers > 0]).mean())

    def __str__(self) -> str:
        name, share = self.largest
        return (
            f"of the {len(self.labels):,} images judged by, {100 * share:.1f} % are of the largest class ({name}), which is "
            f"what always answering so would reach; chance is {100 / len(self.class_names):.1f} %"
        ) + ("; balanced is the mean of the classes' own accuracies" if self.is_uneven else "")

    def blind(self, best: pd.DataFrame) -> str | None:
        """What to say where no network of the front `best` is surely better than one that always answers the same."""
        name, share = self.largest
        if best["accuracy_low"].fillna(best["accuracy"]).max() > share:
            return None
        return (
            f"No network is surely better than always answering {name} ({100 * share:.1f} %), so none has shown that it learnt "
            "anything. Train longer (proxy.epochs), in smaller batches (proxy.batch_size) or on more images "
            "(proxy.images_per_class) before one is taken."
        )


class Right(NamedTuple):
    """Which images a network classified right in each of its trainings."""

    number: int
    """Of images."""
    trainings: tuple[str, ...]
    """As `packed_bits` wrote it."""
    manifest: str = ""
    """Hash of the manifest that says which images these are."""

    @property
    def images(self) -> tuple[str, int]:
        """Which images these are answers to: only answers to the same ones can be compared in pairs."""
        return self.manifest, self.number

    def shares(self) -> np.ndarray:
        """For each image the share of the trainings in which it was right: float32 `(number,)`."""
        each = np.stack([unpacked_bits(text, self.number) for text in self.trainings])
        return np.asarray(each.mean(axis=0, dtype=np.float32))


class Noise(NamedTuple):
    """What is known of the noise in a run's accuracies."""

    images: int | None = None
    """Search-validation images; None where no manifest says."""
    seeds: float | None = None
    """Standard deviation between seeds; None where neither replicates nor a calibration measured it."""
    freedom: int | None = None
    """Degrees of freedom of `seeds`; None where a calibration measured it."""

    @property
    def quantile(self) -> float:
        """How many standard deviations between seeds hold 95 %: Student's t where few replicates measured them."""
        if self.freedom is None:
            return Z
        from scipy.special import stdtrit  # takes a while to import

        return float(stdtrit(self.freedom, 0.975))

    def __str__(self) -> str:
        if self.images is None:
            return "no interval: the run holds no manifest that can be read"
        judged = f"95 % interval from the {self.images:,} images judged by"
        if self.seeds is None:
            return f"{judged} alone; seeds add to it, how much is not known (the verb replicate measures it, with two or more)"
        by = "a calibration" if self.freedom is None else "replicates"
        return f"{judged} and the {100 * self.seeds:.1f} points between seeds, measured by {by}"


def replicates(reading: Reading) -> pd.DataFrame:
    """One row a trial that was trained again, by its number.

    Columns: `replicates` (other seeds that came to an accuracy), `failed`, their `mean` and the standard deviation `sd`, and
    the `seconds` of all.
    """
    trainings = [(a.trial, a.value["accuracy"], a.value["seconds"]) for a in reading.additions if a.kind == REPLICATE]
    trials = pd.DataFrame(trainings, columns=["trial", "accuracy", "seconds"]).astype({"accuracy": float}).groupby("trial")
    by_trial = trials["accuracy"]
    return pd.DataFrame(
        {
            "replicates": by_trial.count(),
            "failed": by_trial.size() - by_trial.count(),
            "mean": by_trial.mean(),
            "sd": by_trial.std(),
            "seconds": trials["seconds"].sum(),
        }
    )


def answers(reading: Reading) -> dict[int, tuple[str, ...]]:
    """By trial what its trainings classified right: its replicates where it has some, else the search's own training."""
    again: dict[int, list[str | None]] = {}
    for each in reading.additions:
        if each.kind == REPLICATE and each.value["accuracy"] is not None:
            again.setdefault(each.trial, []).append(each.value.get("right"))
    own = {record.number: record.right for record in reading.trials}
    chosen = {number: again.get(number, [text]) for number, text in own.items()}
    return {number: tuple(map(str, texts)) for number, texts in chosen.items() if None not in texts}


def noise_of(reading: Reading) -> Noise:
    """What the run's manifest, its replicates and its calibration say; a file that cannot be read says nothing."""
    judged = judged_by(reading)
    if judged is None:
        return Noise()
    images = len(judged.labels)
    seeds, freedom = _pooled(replicates(reading))
    if freedom >= FEWEST_FREEDOM:
        return Noise(images, seeds, freedom)
    return Noise(images, _number(_calibrated(reading).get("noise")))


def judged_by(reading: Reading) -> JudgedBy | None:
    """The images that the run's manifest says; None where there is none that can be read."""
    manifest = reading.folder.manifest
    return _judged_by(manifest, manifest.stat().st_mtime_ns) if manifest.is_file() else None


@functools.lru_cache
def _judged_by(manifest: Path, written: int) -> JudgedBy | None:
    """What a manifest says that was `written` at that time; that of a large data set takes a while to read."""
    content = _read(manifest)
    try:
        labels, names = [int(label) for _, label in content["validation"]], tuple(map(str, content["class_names"]))
        return JudgedBy(np.array(labels), names) if labels and max(labels) < len(names) else None
    except (KeyError, TypeError, ValueError):
        return None


def _pooled(by_trial: pd.DataFrame) -> tuple[float, int]:
    """The standard deviation between seeds, one for all networks, and its degrees of freedom."""
    several = by_trial[by_trial["replicates"] > 1]
    freedom = several["replicates"] - 1
    total = int(freedom.sum())
    return (float(np.sqrt((freedom * several["sd"] ** 2).sum() / total)) if total else np.nan), total


def judged_by_losses(reading: Reading) -> bool:
    """Whether losses help to foretell accuracies, as the run's proxy.signal says or, where that is auto, its calibration."""
    if reading.search.proxy.signal != "auto":
        return reading.search.proxy.signal == "losses"
    taus = _calibrated(reading).get("signals")
    by_signal = taus if isinstance(taus, dict) else {}
    accuracy, losses = (_number(by_signal.get(name)) for name in ("accuracy", MEAN_OF_LOSSES))
    return accuracy is None or losses is None or losses >= accuracy


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _calibrated(reading: Reading) -> dict[str, Any]:
    """What a calibration says of the fidelity that trains as the run does, on its images; empty where none does."""
    calibration = _read(reading.folder.calibration / "calibration.json")
    if not calibration:
        return {}  # before the manifest is read, which may list a million images
    try:
        name = calibrated_as(calibration, reading.search.proxy, manifest=read_manifest(reading.folder.manifest).hash)
        row = calibration["fidelities"][name] if name else {}
    except (KeyError, TypeError, NasError):  # no calibration, or none that can be read
        return {}
    return row if isinstance(row, dict) else {}


def _read(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def margins(accuracy: pd.Series, noise: Noise, *, trainings: pd.Series | int = 1) -> tuple[pd.Series, pd.Series]:
    """How far each accuracy's 95 % interval reaches below and above it, NaN where nothing is known of the noise.

    Wilson's interval for the images (JASA 22, 1927), widened by the spread between seeds as independent errors add; an accuracy
    that is the mean of several `trainings` has that much less of it.
    """
    if noise.images is None:
        nothing = pd.Series(np.nan, index=accuracy.index)
        return nothing, nothing
    n, seeds = noise.images, seed_margin(noise, trainings=trainings)
    centre = (accuracy + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(accuracy * (1 - accuracy) / n + Z**2 / (4 * n**2))
    below = np.hypot((accuracy - centre + half).clip(lower=0), seeds)
    above = np.hypot((centre + half - accuracy).clip(lower=0), seeds)
    return below, above


def seed_margin(noise: Noise, *, trainings: pd.Series | int = 1) -> pd.Series | float:
    """Half the 95 % interval that the spread between seeds alone leaves the mean of so many trainings."""
    return noise.quantile * (noise.seeds or 0.0) / np.sqrt(trainings)


def surely_better(one: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """`(one, other)`: whether each row of `one` is more accurate than each of `other` by more than the noise.

    Two networks whose answers to the same images are known are compared in pairs: what both get right, or both wrong, is no
    noise of their difference. Else its noise is that of both accuracies together; without any interval each difference counts.
    """
    gap = one["accuracy"].to_numpy()[:, None] - other["accuracy"].to_numpy()
    below, above = one["below"].fillna(0).to_numpy()[:, None], other["above"].fillna(0).to_numpy()
    apart = np.hypot(below, above)
    paired = _paired_noise(one, other)
    return gap > np.where(np.isnan(paired), apart, paired)


def _paired_noise(one: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """`(one, other)`: half the 95 % interval of each difference, from the images on which two networks differ and from the
    spread between seeds; NaN where the answers of one of them are not known."""
    seeds = np.hypot(_of_seeds(one)[:, None], _of_seeds(other))
    return np.hypot(Z * np.sqrt(paired_variance(one, other)), seeds)


def paired_variance(one: pd.DataFrame, other: pd.DataFrame) -> np.ndarray:
    """`(one, other)`: the variance that the choice of images leaves each difference of two accuracies; NaN where the answers of
    one of them are not known.

    As in Agresti and Min's interval for paired proportions (Statistics in Medicine 24, 2005), half an image is added to each
    case.
    """
    variances = np.full((len(one), len(other)), np.nan)
    if "right" not in one or "right" not in other:
        return variances
    for images, rows, first in _answers(one):
        for others, columns, second in _answers(other):
            number = first.shape[1]
            if images != others:
                continue
            gap = first.mean(axis=1)[:, None] - second.mean(axis=1)
            squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
            variance = ((squares + 1) / (number + 2) - (gap * number / (number + 2)) ** 2) / (number + 2)
            variances[np.ix_(rows, columns)] = variance.clip(min=0)
    return variances


def _of_seeds(trials: pd.DataFrame) -> np.ndarray:
    """What the spread between seeds adds to half of each accuracy's interval."""
    return trials["seed_margin"].fillna(0.0).to_numpy(float) if "seed_margin" in trials else np.zeros(len(trials))


def _answers(trials: pd.DataFrame) -> Iterator[tuple[tuple[str, int], np.ndarray, np.ndarray]]:
    """Which images they are answers to, places of rows, and their answers `(rows, images)`; some rows at once."""
    rights = trials["right"].tolist()
    for images in {right.images for right in rights if isinstance(right, Right)}:
        places = np.array([i for i, right in enumerate(rights) if isinstance(right, Right) and right.images == images])
        for block in np.array_split(places, -(-len(places) // AT_ONCE)):
            yield images, block, np.stack([rights[i].shares() for i in block])


def tied(trials: pd.DataFrame, best: pd.DataFrame, *costs: str) -> pd.DataFrame:
    """The complete affordable trials off the front that could be on it: nothing that costs no more is surely better.

    With the front `best` they are the front that the noise leaves open; `costs` are the objectives beside accuracy, MACs where
    none is named. Cheapest first; empty where no interval is known.
    """
    costs = costs or ("macs",)
    able = trials[is_whole(trials) & ~trials.index.isin(best.index)]
    able = able.dropna(subset=[*costs, "accuracy", "accuracy_low"])
    beaten = (_no_dearer(best, able, costs) & surely_better(best, able)).any(axis=0)
    return able[~beaten].sort_values([costs[0], "accuracy"], ascending=[True, False])


def _no_dearer(one: pd.DataFrame, other: pd.DataFrame, costs: tuple[str, ...]) -> np.ndarray:
    """`(one, other)`: whether a row of `one` costs no more than a row of `other` in anything."""
    return (one[list(costs)].to_numpy(float)[:, None] <= other[list(costs)].to_numpy(float)).all(axis=2)


def rivals(best: pd.DataFrame, *costs: str) -> pd.Series:
    """For each row of the front the label of the cheapest one that costs no more and is not surely worse; None where it stands
    clear of all that are cheaper."""
    open_ = _no_dearer(best, best, costs or ("macs",)) & ~surely_better(best, best).T
    np.fill_diagonal(open_, False)
    first = [next((best.index[i] for i in np.flatnonzero(column)), None) for column in open_.T]
    return pd.Series(first, index=best.index, dtype=object)


def highest(trials: pd.DataFrame, best: pd.DataFrame) -> tuple[pd.Series, pd.DataFrame]:
    """The front's row of which most is expected, and every other finished trial that it is not surely better than."""
    top = best.loc[[best["expected"].idxmax()]]
    able = finished(trials).drop(index=top.index)
    return top.iloc[0], able[~surely_better(top, able)[0]]
