"""Tables of trained networks that stand in for trainings: error and MACs by architecture, some with an earlier rung."""

import json
import os
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution

from nas.pareto import hypervolume_of, pareto
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture

FOLDER = Path(os.environ.get("NAS_TABLES", "nas_tables"))
DIGITS = Path(__file__).with_name("digits.csv")
PHOTOS = Path(__file__).with_name("photos.csv")
METAFORMER64 = Path(__file__).parents[1] / "calibration" / "reference"
REFERENCE = 1.1  # of the true front, ideal 0 and nadir 1
LATENCY = FOLDER / "nas_bench_201_latency.csv"  # ms by device, of the networks of NAS-Bench-201
DEVICES = (
    "1080ti_1",
    "1080ti_256",
    "essential_ph_1",
    "pixel2",
    "samsung_a50",
    "samsung_s7",
    "silver_4114",
    "titanx_32",
)


class Source(NamedTuple):
    """Where a table lies: a CSV file, its columns, and the share of a training that its rung costs."""

    file: Path
    accuracy: str
    macs: str = "macs"
    rung: tuple[str, ...] = ()
    rung_cost: float = 0.0


SOURCES = {
    "macro": Source(FOLDER / "nas_bench_macro_cifar10.csv", "acc"),
    "201-cifar10": Source(FOLDER / "nas_bench_201_cifar.csv", "cifar10_test_200ep", "macs_m", ("cifar10_val_12ep",), 12 / 200),
    "201-cifar100": Source(
        FOLDER / "nas_bench_201_cifar.csv", "cifar100_test_200ep", "macs_m", ("cifar100_val_12ep",), 12 / 200
    ),
    "digits": Source(DIGITS, "accuracy4", rung=("accuracy1", "train_loss1"), rung_cost=1 / 4),
    "photos": Source(PHOTOS, "accuracy4", rung=("accuracy1", "train_loss1"), rung_cost=1 / 4),
}
PARTS = ["metaformer64"]  # a part of a space was trained: what else is proposed stands for the nearest of it
TABLES = ["macro", "201-cifar10", "201-cifar100", "digits", "landscape"]  # that searchers are compared on
WITH_LATENCY = [f"201-cifar10@{device}" for device in DEVICES]  # of three objectives


class Table(NamedTuple):
    """Error in percent and costs by architecture; what the rung shows of it; the true front's ideal, nadir and hypervolume."""

    objectives: dict[str, tuple[float, ...]]
    space: dict[str, CategoricalDistribution]
    rung: dict[str, tuple[float, ...]]
    rung_cost: float
    ideal: np.ndarray
    nadir: np.ndarray
    best: float

    def arch(self, params: dict[str, str]) -> str:
        """The name of a point: of the nearest one that was trained, by the number of choices that differ, also of those that
        have no effect there."""
        name = "".join(params[axis] for axis in self.space)
        return name if name in self.objectives else _nearest(name, tuple(self.objectives))

    def costs(self, params: dict[str, str]) -> tuple[float, ...]:
        """MACs and, in some tables, a device's latency: known before the training."""
        return self.objectives[self.arch(params)][1:]

    def volume(self, points: list[tuple[float, ...]]) -> float:
        """Hypervolume as a share of the true front's."""
        return _volume(np.array(points), self.ideal, self.nadir) / self.best if points else 0.0


@cache
def read_table(name: str) -> Table:
    """A table by its name in TABLES, WITH_LATENCY or PARTS."""
    made = {"landscape": landscape, "metaformer64": metaformer64}
    if name in made:
        return _table(*made[name](), {}, 0.0)
    name, _, device = name.partition("@")
    source, columns = SOURCES[name], [f"{device}_ms"] if device else []
    rows = _read_csv(source.file)
    rows = rows[rows.seed == 0] if "seed" in rows else rows
    rows = rows.merge(_read_csv(LATENCY), on="arch") if device else rows
    rung = dict(zip(rows.arch, map(tuple, rows[list(source.rung)].to_numpy().tolist()), strict=True)) if source.rung else {}
    costs = rows[[source.macs, *columns]]
    return _table(list(rows.arch), np.column_stack([100 - rows[source.accuracy], costs]), rung, source.rung_cost)


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise SystemExit(f"{path} is missing; set NAS_TABLES to the folder that holds the public tables.")
    return pd.read_csv(path, dtype={"arch": str})


def landscape(*, axes: int = 8, options: int = 4, seed: int = 0) -> tuple[list[str], np.ndarray]:
    """A made-up table: error falls with the logarithm of the cost and with random triples of neighbouring choices (Kauffman's
    NK landscapes, K = 2), and half of the options cost little."""
    rng = np.random.default_rng(seed)
    digits = np.indices((options,) * axes).reshape(axes, -1)  # (axes, architectures)
    costs = 1 + sum(rng.lognormal(0, 1, options)[row] for row in digits)
    fitness = sum(rng.random((options,) * 3)[digits[i], digits[(i + 1) % axes], digits[(i + 2) % axes]] for i in range(axes))
    size, fit = ((v - v.min()) / np.ptp(v) for v in (np.log(costs), fitness))
    return ["".join(map(str, column)) for column in digits.T], np.column_stack([50 - 20 * size - 20 * fit, costs])


def metaformer64() -> tuple[list[str], np.ndarray]:
    """The long trainings of experiments/calibration/reference, a small part of a large space; the mean of their seeds.

    A member of a family stands at the point of the space that is nearest to it, and is left out where another network stands.
    """
    axes = read_search(METAFORMER64 / "metaformer64.yaml").space
    known = json.loads((METAFORMER64 / "architectures.json").read_text(encoding="utf-8"))
    curves = _read_csv(METAFORMER64 / "reference.csv")
    last = curves[curves["epoch"] == curves["epoch"].max()].groupby("key")[["accuracy", "macs"]].mean()
    rows: dict[str, tuple[float, float]] = {}
    for key, accuracy, macs in last.itertuples():
        inside = axes.nearest(Architecture.model_validate(known[key]["architecture"]))  # families have widths of their own
        choices = axes.choices(inside)  # without those that have no effect
        name = "".join(str(options.index(choices.get(axis, options[0]))) for axis, options in axes.axes.items())
        rows.setdefault(name, (100 - 100 * accuracy, macs))
    return list(rows), np.array(list(rows.values()))


@cache
def _nearest(name: str, known: tuple[str, ...]) -> str:
    return min(known, key=lambda other: sum(a != b for a, b in zip(name, other, strict=True)))


def _table(names: list[str], points: np.ndarray, rung: dict[str, tuple[float, ...]], rung_cost: float) -> Table:
    front = points[pareto(points)]
    ideal, nadir = front.min(axis=0), front.max(axis=0)
    digits = zip(*names, strict=True)
    space = {f"choice{i}": CategoricalDistribution(sorted(set(d))) for i, d in enumerate(digits)}
    objectives = dict(zip(names, map(tuple, points.tolist()), strict=True))
    return Table(objectives, space, rung, rung_cost, ideal, nadir, _volume(points, ideal, nadir))


def _volume(points: np.ndarray, ideal: np.ndarray, nadir: np.ndarray) -> float:
    return hypervolume_of((points[pareto(points)] - ideal) / (nadir - ideal), [REFERENCE] * len(ideal))
