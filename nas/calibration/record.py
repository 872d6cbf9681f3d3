"""The record of a calibration: every training once, in one CSV file that is written whole after each."""

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from nas.config.text import read_text
from nas.config.values import Value, validated
from nas.errors import ConfigError, in_one_line
from nas.files import patiently, write_whole
from nas.recipes.recipe import Proxy, plain_recipe
from nas.space.architecture import Architecture
from nas.spreadsheets import as_cell, from_cell
from nas.training.curve import Epoch, Outcome

TRAINING_COLUMNS = (
    "fidelity", "name", "seed", "accuracy", "seconds", "cause", "machine", "device", "setup", "manifest", "outcome",
    "architecture", "recipe",
)  # fmt: skip
SCORES_FILE, TRAININGS_FILE = "scores.csv", "trainings.csv"


class Training(Value):
    """One training of a calibration: what is trained how, and under which names it is shown."""

    fidelity: str
    name: str
    architecture: Architecture
    recipe: Proxy
    manifest: str
    seed: int

    @cached_property
    def setup(self) -> str:
        """Twelve hexadecimal digits that are equal for equal trainings, whatever they are called."""
        return hashed([self.architecture.key, plain_recipe(self.recipe), self.manifest, self.seed])


def calibrated_as(calibration: dict[str, Any], proxy: Proxy, *, manifest: str | None) -> str | None:
    """The fidelity of a calibration.json whose recipe is `proxy`, on images of that manifest's hash (None: any); or None.

    KeyError or ConfigError where it is no whole calibration.json.
    """
    if not all(isinstance(calibration.get(name), dict) for name in ("recipes", "manifests")):
        raise ConfigError("calibration.json: recipes and manifests must be mappings. Write it again: nas calibrate.")
    for name, recipe in calibration["recipes"].items():
        same_images = manifest in (None, calibration["manifests"][name])
        if same_images and _same(validated(Proxy, recipe, where="calibration.json"), proxy):
            return name
    return None


def _same(one: Proxy, other: Proxy) -> bool:
    """Whether two recipes train alike; a calibration knows its teacher by where it lies, a search by its digest as well."""
    plain = [plain_recipe(recipe) for recipe in (one, other)]
    taught = [recipe["distillation"] for recipe in plain if recipe["distillation"]]
    known_by = {"teacher", "weights"} if all("digest" in distillation for distillation in taught) else {"digest"}
    for distillation in taught:
        for name in known_by & distillation.keys():
            del distillation[name]
    return plain[0] == plain[1]


def hashed(data: Any) -> str:
    """Twelve hexadecimal digits of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:12]


class Trainings:
    """The rows of trainings.csv, by setup. Those of an earlier setup stay in the file and are never mistaken for another's."""

    def __init__(self, path: Path):
        self.path = path
        self._rows = {_setup(row, path): row for row in _read(path, TRAINING_COLUMNS)}

    def row(self, training: Training) -> dict[str, str] | None:
        """The row of an equal training, None where there is none."""
        return self._rows.get(training.setup)

    def is_done(self, training: Training) -> bool:
        """Whether it had its chance: a failure of the machine is none."""
        row = self.row(training)
        return row is not None and not row["machine"]

    def add(self, training: Training, *, outcome: Outcome, machine: bool, device: str) -> None:
        """Put a training down."""
        row = {
            **{name: getattr(training, name) for name in ("fidelity", "name", "seed", "setup", "manifest")},
            **{name: getattr(outcome, name) for name in ("accuracy", "seconds", "cause")},
            "machine": "yes" if machine else None,
            "device": device,
            "outcome": json.dumps(outcome.model_dump(mode="json")),
            "architecture": json.dumps(training.architecture.to_dict()),
            "recipe": training.recipe.model_dump_json(),
        }
        self._rows[training.setup] = {name: "" if row[name] is None else str(row[name]) for name in TRAINING_COLUMNS}
        _write(self.path, TRAINING_COLUMNS, self._rows.values())


class Scores:
    """What untrained networks were found to score, by setup, in scores.csv."""

    COLUMNS = ("name", "seed", "setup", "scores")

    def __init__(self, path: Path):
        self.path = path
        self._rows = {row["setup"]: row for row in _read(path, self.COLUMNS)}

    def of(self, beginning: Training) -> dict[str, float] | None:
        """The scores of a network as that training begins with it; None where it has none yet."""
        row = self._rows.get(beginning.setup)
        return None if row is None else _numbers(row["scores"], self.path)

    def add(self, beginning: Training, scores: dict[str, float]) -> None:
        """Put a network's scores down."""
        named = {"name": beginning.name, "seed": str(beginning.seed), "setup": beginning.setup}
        self._rows[beginning.setup] = {**named, "scores": json.dumps(scores)}
        _write(self.path, self.COLUMNS, self._rows.values())


def curve_of(row: dict[str, str]) -> tuple[Epoch, ...]:
    """The epochs of a training that was put down."""
    return Outcome.model_validate_json(row["outcome"]).curve


def _numbers(text: str, path: Path) -> dict[str, float]:
    """A JSON object of numbers; ConfigError for anything else."""
    try:
        scores = json.loads(text)
    except (ValueError, RecursionError):
        scores = None
    if not isinstance(scores, dict) or not all(type(score) in (int, float) for score in scores.values()):
        raise ConfigError(f"{path}: is damaged: scores must be a JSON object of numbers. Restore it, or remove it.")
    return scores


def _write(path: Path, columns: tuple[str, ...], rows: Iterable[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: as_cell(value) for name, value in row.items()} for row in rows)
    patiently(partial(write_whole, path, text.getvalue()))


def _read(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    if not path.exists():
        return []
    rows = rows_of(path)
    if any(set(row) != set(columns) or None in row.values() for row in rows):
        raise ConfigError(
            f"{path}: is damaged: every row must have the columns {', '.join(columns)}. Restore it, or remove it."
        )
    return [{name: from_cell(value) for name, value in row.items()} for row in rows]


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file by the names of their columns; ConfigError where it is none."""
    try:
        return list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:  # a field of more than 131,072 letters, a null
        raise ConfigError(f"{path}: must be CSV, but: {error}. Mend the file, or remove it.") from None


class NoTraining(Exception):
    """A row that no calibration writes."""


def _check_numbers(row: dict[str, str]) -> None:
    """NoTraining where a row's numbers are none."""
    try:
        numbers = [float(row[name]) for name in ("accuracy", "seconds") if row[name] or not row["cause"]]
        curve_of(row)
    except ValueError as error:
        raise NoTraining(f"{row['name']}: {in_one_line(error)}") from None
    if not all(map(math.isfinite, numbers)):
        raise NoTraining(f"{row['name']}: accuracy and seconds must be finite numbers")


def _setup(row: dict[str, str], path: Path) -> str:
    """The setup of a row as it would be today: a setting that is newer than the row had its default there."""
    try:
        _check_numbers(row)
        data = {name: json.loads(row[name]) for name in ("architecture", "recipe", "seed")}
        return Training.model_validate({**data, **{name: row[name] for name in ("fidelity", "name", "manifest")}}).setup
    except (json.JSONDecodeError, RecursionError, NoTraining) as error:
        raise ConfigError(f"{path}: is damaged: {in_one_line(error).rstrip('.')}. Restore it, or remove it.") from None
    except ValueError:
        return row["setup"]  # a setting of those days is gone, and so is any training that could equal it
