"""A device file: what was measured on one device under one set of conditions, and what it foretells of other networks."""

import hashlib
import json
import math
import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, field_validator, model_validator

from nas.config.text import read_json
from nas.config.values import Value, broken, validated
from nas.devices.conditions import Conditions
from nas.devices.predictor import Columns, Hyper, fitted, weights
from nas.devices.terms import REMEMBERED_PARTS, Part, Term, Terms, counted_parts, terms_of
from nas.errors import ConfigError, few
from nas.files import write_whole
from nas.space.architecture import Architecture
from nas.space.cost import cost
from nas.space.costs import Cost, Foretold, on_device
from nas.space.search_space import SearchSpace

SCHEMA: Literal[1] = 1
"""Raised when terms change, since the same variances then mean other times."""
HELD_OUT_FOLDS = 5
SIGMAS = 1.645  # of a normal distribution on either side: nine times out of ten
SAYS = ("device", "model")  # in a fingerprint, which machine it is
FEWEST_NETWORKS = 8  # networks without which nothing is foretold
LONGEST_MS = 1e7  # of a batch: three hours
STRANGE_SHOWN = 6  # things that a message lists

PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False)]
MeasuredMs = Annotated[float, Field(gt=0, le=LONGEST_MS, allow_inf_nan=False)]


class Timing(Value):
    """One network's time for a batch, its 95 % interval, and how often it was measured."""

    architecture: Architecture
    latency_ms: MeasuredMs
    low: MeasuredMs
    high: MeasuredMs
    rounds: Annotated[int, Field(ge=1)] = 1
    peak_bytes: Annotated[int, Field(ge=0)] | None = None
    """Working memory at its widest, weights aside; None where the runtime does not tell."""


class Quality(Value):
    """How well networks are foretold that were held out of the fit, a fifth at a time; beside it what MACs alone reach."""

    networks: int
    median_error: float
    """Relative, as the next."""
    error_90: float
    tau: float
    macs_tau: float
    inside: float
    """Share of times that lie inside their 90 % intervals."""


class Fitted(Value):
    """The parameters of the prediction: variances by level of `nas.devices.terms`, and of the relative error."""

    variances: dict[int, PositiveNumber]
    noise: PositiveNumber
    stretch: PositiveNumber = 1.0
    """By what intervals are wider than the fit says, so that they hold nine held-out times out of ten."""


class DeviceFile(Value):
    """Everything in a device file."""

    schema_version: Literal[1] = SCHEMA
    machine: dict[str, Any]
    conditions: Conditions
    num_classes: Annotated[int, Field(ge=2)]
    space: dict[str, Any]
    """The search space that networks were drawn from."""
    measured: str
    """When, in ISO 8601."""
    networks: Annotated[tuple[Timing, ...], Field(min_length=FEWEST_NETWORKS)]
    predictor: Fitted
    quality: Quality

    @field_validator("machine")
    @classmethod
    def _is_called_something(cls, machine: dict[str, Any]) -> dict[str, Any]:
        for name in SAYS:
            if not isinstance(machine.get(name), str):
                raise broken(name, f"must be text that says which machine it is, but got {machine.get(name)!r:.50}")
        return machine

    @model_validator(mode="after")
    def _weighs_each_level(self) -> "DeviceFile":
        if missing := set(self._columns[1].levels.tolist()) - set(self.predictor.variances):
            raise broken("predictor.variances", f"must hold a number for each level of terms, but lacks {min(missing)}")
        return self

    @property
    def key(self) -> str:
        """Ten hexadecimal digits that are equal for equal files."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:10]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        plain = self.model_dump(mode="json", exclude={"networks"})
        return {
            **plain,
            "networks": [{**n.model_dump(mode="json"), "architecture": n.architecture.to_dict()} for n in self.networks],
        }

    def write(self, path: Path) -> None:
        """As JSON, a network a line."""
        plain = self.to_dict()
        networks = ",\n  ".join(json.dumps(network) for network in plain.pop("networks"))
        head = json.dumps(plain, indent=1)[:-2]
        write_whole(path, f'{head},\n "networks": [\n  {networks}\n ]\n}}\n')

    def estimate(self, architecture: Architecture, *, name: str = "latency_ms") -> Foretold:
        """What is foretold of a network, and its 90 % interval."""
        return self._estimate(self._row(architecture), name)

    def unseen(self, architectures: Iterable[Architecture]) -> list[str]:
        """The kinds of operators and options in them that no measured network had: of these it can foretell nothing."""
        return sorted(
            {term.of for part in {p for a in architectures for p, _ in self._parts(a)} for term in self._strange(part)}
        )

    # how

    @cached_property
    def _columns(self) -> tuple[tuple[Term, ...], Columns]:
        return columns_of([n.architecture for n in self.networks], self.conditions.image_size, self.num_classes)

    @cached_property
    def _index(self) -> dict[Term, int]:
        return {term: i for i, term in enumerate(self._columns[0])}

    @cached_property
    def _basis(self) -> np.ndarray:
        """What one unit of each term adds to a network's row: its milliseconds, its own uncertainty, what is known of that."""
        ms = np.array([n.latency_ms for n in self.networks])
        weight = weights(self._columns[1], ms, Hyper(self.predictor.variances, self.predictor.noise))
        return np.column_stack(
            [weight.mean, np.diag(np.sqrt(weight.prior)), weight.informed.T]
        )  # (terms, 1 + terms + networks)

    def _row(self, architecture: Architecture) -> np.ndarray:
        """The sum of what its parts add: (1 + terms + networks,)."""
        parts = self._parts(architecture)
        times = np.array([number for _, number in parts], dtype=float)
        return times @ np.array([self._own(part) for part, _ in parts])

    def _parts(self, architecture: Architecture) -> list[tuple[Part, int]]:
        return counted_parts(architecture, image_size=self.conditions.image_size, num_classes=self.num_classes)

    @cached_property
    def _rows(self) -> dict[Part, np.ndarray]:
        return {}

    def _own(self, part: Part) -> np.ndarray:
        """The row that a part of a network adds, worked out once."""
        row = self._rows.get(part)
        if row is None:
            amounts = {self._index[t]: amount for t, amount in terms_of(part).items() if t in self._index}
            row = np.array(list(amounts.values())) @ self._basis[list(amounts)]
            if len(self._rows) >= REMEMBERED_PARTS:
                self._rows.clear()
            self._rows[part] = row
        return row

    def _strange(self, part: Part) -> list[Term]:
        return [term for term in terms_of(part) if term.level in (2, 3) and term not in self._index]

    def _estimate(self, row: np.ndarray, name: str) -> Foretold:
        middle = 1 + len(self._index)
        own, informed = row[1:middle], row[middle:]
        ms = max(float(row[0]), self._least)
        variance = max(float(own @ own - informed @ informed), 0.0) + self.predictor.noise * ms**2
        half = SIGMAS * self.predictor.stretch * math.sqrt(variance)
        return Foretold(name, ms, max(ms - half, 0.0), ms + half)

    @cached_property
    def _least(self) -> float:
        """No network is foretold to be ten times as fast as the fastest that was measured."""
        return min(network.latency_ms for network in self.networks) / 10


def read_device_file(path: Path) -> DeviceFile:
    """The device file at `path`; ConfigError where it is none, is of another version, or is damaged."""
    data = read_json(path)
    if "schema_version" not in data:
        raise ConfigError(f"{path}: is no device file: it has no schema_version. Write one: nas devices measure --help")
    if data["schema_version"] != SCHEMA:
        raise ConfigError(
            f"{path}: schema_version must be {SCHEMA}, but got {data['schema_version']!r:.50}. Measure it again: "
            "nas devices measure --help"
        )
    return validated(DeviceFile, data, where=str(path))


def check_target(path: Path) -> None:
    """Nothing, if a device file can be written at `path`, where none is or an older one; ConfigError before time is spent."""
    if path.exists():
        try:
            read_device_file(path)
        except ConfigError:
            raise ConfigError(
                f"--out {path}: must be a new file or a device file, but is something else, which was left as it is. Choose "
                "another --out."
            ) from None
    place = next(parent for parent in path.absolute().parents if parent.exists())
    if not (place.is_dir() and os.access(place, os.W_OK)):
        raise ConfigError(f"--out {path}: must be writable, but {place} is not a folder that is. Choose another --out.")


def columns_of(architectures: Sequence[Architecture], image_size: int, num_classes: int) -> tuple[tuple[Term, ...], Columns]:
    """The terms of some networks, and how much of each they have."""
    each = [_whole(counted_parts(a, image_size=image_size, num_classes=num_classes)) for a in architectures]
    terms = tuple(sorted({term for amounts in each for term in amounts}))
    amounts = np.array([[own.get(term, 0.0) for term in terms] for own in each])
    return terms, Columns(amounts, np.array([term.level for term in terms]), [term.quantity for term in terms])


def _whole(parts: list[tuple[Part, int]]) -> Terms:
    total = Terms()
    for part, number in parts:
        for term, amount in terms_of(part).items():
            total[term] += number * amount
    return total


class Prediction(NamedTuple):
    """What measurements make of a prediction."""

    predictor: Fitted
    quality: Quality


def learnt(networks: Sequence[Timing], *, image_size: int, num_classes: int) -> Prediction:
    """The prediction that measured networks make, and how good it is on those of them that were held out."""
    architectures = [network.architecture for network in networks]
    ms = np.array([network.latency_ms for network in networks])
    _, columns = columns_of(architectures, image_size, num_classes)
    guesses, spreads = _held_out(columns, ms)
    stretch = float(np.clip(np.quantile(np.abs(guesses - ms) / spreads, 0.9) / SIGMAS, 1.0, 5.0))
    hyper, _ = fitted(columns, ms)
    macs = np.array([cost(a, image_size=image_size, num_classes=num_classes).macs for a in architectures])
    inside = np.abs(guesses - ms) <= SIGMAS * stretch * spreads
    return Prediction(
        Fitted(variances=hyper.variances, noise=hyper.noise, stretch=stretch),
        quality_of(guesses, ms, macs, inside=float(inside.mean())),
    )


def quality_of(guesses: np.ndarray, ms: np.ndarray, macs: np.ndarray, *, inside: float) -> Quality:
    """How near guesses of milliseconds come to measured ones: (networks,) each."""
    from scipy.stats import kendalltau  # takes half a second; who only predicts goes without

    errors = np.abs(guesses / ms - 1)
    return Quality(
        networks=len(ms), median_error=float(np.median(errors)), error_90=float(np.quantile(errors, 0.9)),
        tau=float(kendalltau(guesses, ms)[0]), macs_tau=float(kendalltau(macs, ms)[0]), inside=inside,
    )  # fmt: skip


def _held_out(columns: Columns, ms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each fifth of the networks is foretold by the others, and the standard deviation of that."""
    folds = np.random.default_rng(0).permutation(len(ms)) % min(HELD_OUT_FOLDS, len(ms))
    guesses, spreads = np.empty(len(ms)), np.empty(len(ms))
    for fold in np.unique(folds):
        inside, out = folds != fold, folds == fold
        _, fit = fitted(columns._replace(amounts=columns.amounts[inside]), ms[inside])
        guesses[out], spreads[out] = fit.ms(columns.amounts[out]), fit.spread(columns.amounts[out])
    return guesses, spreads


def foretold_by(architecture: Architecture, counted: Cost, path: Path, *, image_size: int, num_classes: int) -> Cost:
    """The cost, and what the device file at `path` foretells; ConfigError where it is of another size or saw no such block."""
    file = read_device_file(path)
    _check_sizes(file, image_size, num_classes, where=str(path))
    strange = file.unseen([architecture])
    if strange:
        raise ConfigError(
            f"{path}: cannot foretell this network: none of the {len(file.networks)} measured ones has "
            f"{few(strange, most=STRANGE_SHOWN)}. Measure a space that has it: nas devices measure --help"
        )
    return counted._replace(estimates=(file.estimate(architecture, name=on_device("latency_ms", path.stem)),))


def _check_sizes(file: DeviceFile, image_size: int, num_classes: int, *, where: str) -> None:
    size, classes = file.conditions.image_size, file.num_classes
    if (size, classes) != (image_size, num_classes):
        raise ConfigError(
            f"{where}: was measured at {size} px and {classes} classes, but asked about {image_size} px and {num_classes} "
            "classes. Measure it again for these (nas devices measure --help), or give the same image size and classes."
        )


def check_covers(file: DeviceFile, space: SearchSpace, *, where: str) -> None:
    """ConfigError unless the file was measured at the space's resolution and classes and knows all that it is built from."""
    _check_sizes(file, space.image_size, space.num_classes, where=where)
    strange = file.unseen(space.spread())
    if strange:
        raise ConfigError(
            f"{where}: was measured for another space: none of its {len(file.networks)} networks has "
            f"{few(strange, most=STRANGE_SHOWN)}. Measure it again for this one: nas devices measure --help"
        )
