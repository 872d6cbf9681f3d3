"""A device that runs none of this: ONNX files to time there with one's own tool, and the times read back.

`ask` writes a folder with a file a network, `networks.json`, and an empty table to fill in; `learn` makes a device file of it.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field

from nas.config.text import read_json, read_text
from nas.config.values import Value, validated
from nas.devices.conditions import Conditions
from nas.devices.device_file import LONGEST_MS, DeviceFile, Timing
from nas.devices.measuring import device_file_of
from nas.devices.runtimes import check_onnx_runtime, write_onnx_for
from nas.errors import ConfigError, few
from nas.files import write_whole
from nas.models.reparam import deployed
from nas.space.architecture import Architecture
from nas.space.search_space import SearchSpace

FEWEST_ROWS = 12  # times without which no device file is written
NETWORKS_FILE, TABLE_FILE = "networks.json", "measured.csv"
FILE_COLUMN, MS_COLUMN = "file", "latency_ms"
FAULTS_SHOWN = 5  # faults a message lists


class Asked(Value):
    """What `networks.json` says: which network each file holds, and what for."""

    space: SearchSpace
    batch: Annotated[int, Field(ge=1)]
    networks: dict[str, Architecture]


class Learnt(NamedTuple):
    """A device file of somebody's times, and the files that had none."""

    file: DeviceFile
    missing: list[str]


def ask(space: SearchSpace, architectures: Sequence[Architecture], folder: Path, *, batch: int) -> None:
    """Write the networks as ONNX files into `folder`, with what `learn` needs; ConfigError where it is not empty."""
    check_onnx_runtime(Conditions(runtime="onnxruntime"))
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder}: must be empty or new, but holds files. Choose another --out.")
    names = {f"{i:03}.onnx": architecture for i, architecture in enumerate(architectures)}
    folder.mkdir(parents=True, exist_ok=True)
    images = torch.rand(batch, 3, space.image_size, space.image_size)
    for name, architecture in names.items():
        network = deployed(architecture, image_size=space.image_size, num_classes=space.num_classes).eval()
        write_onnx_for(folder / name, network, images)
    write_whole(folder / TABLE_FILE, "\n".join([f"{FILE_COLUMN},{MS_COLUMN}", *(f"{name}," for name in names)]) + "\n")
    asked = Asked(space=space, batch=batch, networks=names)
    write_whole(folder / NETWORKS_FILE, asked.model_dump_json(exclude_none=True, indent=1))  # last: the folder is whole


def learn(folder: Path, table: Path, *, device: str) -> Learnt:
    """The device file that somebody's times make; ConfigError names every row that is none, and where there are too few."""
    path = Path(folder) / NETWORKS_FILE
    if not path.is_file():
        raise ConfigError(f"{folder}: holds no {NETWORKS_FILE}. Give the folder that `nas devices ask` wrote.")
    asked = validated(Asked, read_json(path), where=str(path))
    times = _times(Path(table), asked)
    missing = [name for name in asked.networks if name not in times]
    if len(times) < FEWEST_ROWS:
        raise ConfigError(
            f"{table}: must hold the times of at least {FEWEST_ROWS} networks, but holds {len(times)} of "
            f"{len(asked.networks)}; missing: {few(missing, most=FAULTS_SHOWN)}. Measure more, and give the same command again."
        )
    networks = [Timing(architecture=asked.networks[name], latency_ms=ms, low=ms, high=ms) for name, ms in times.items()]
    conditions = Conditions(runtime="outside", batch=asked.batch, image_size=asked.space.image_size)
    machine = {"device": "outside", "model": device}
    return Learnt(device_file_of(networks, asked.space, conditions, machine=machine), missing)


def _times(table: Path, asked: Asked) -> dict[str, float]:
    """Milliseconds by file; a row without a time is one that was not measured."""
    try:
        return _times_in(csv.DictReader(io.StringIO(read_text(table))), table, asked)
    except csv.Error as error:
        raise ConfigError(f"{table}: must be a CSV table, but: {error}. Fill in the {TABLE_FILE} anew.") from None


def _times_in(rows: csv.DictReader, table: Path, asked: Asked) -> dict[str, float]:
    if not rows.fieldnames or not {FILE_COLUMN, MS_COLUMN} <= {name.strip() for name in rows.fieldnames}:
        raise ConfigError(
            f"{table}: must have the columns {FILE_COLUMN} and {MS_COLUMN}, but has {', '.join(rows.fieldnames or ['none'])}. "
            f"Fill in the {TABLE_FILE} that `nas devices ask` wrote."
        )
    times: dict[str, float] = {}
    faults = []
    for row in rows:
        plain = {str(name).strip(): str(value or "").strip() for name, value in row.items()}
        name, written = plain[FILE_COLUMN].rpartition("/")[2], plain[MS_COLUMN]
        fault = _fault(name, written, times, asked)
        if fault is not None:
            faults.append(f"  line {rows.line_num}: {fault}")
        elif written:
            times[name] = float(written)
    if faults:
        raise ConfigError(
            f"{table}: not every row is a time:\n{few(faults, most=FAULTS_SHOWN, between=chr(10))}\nMend or remove these rows."
        )
    return times


def _fault(name: str, written: str, times: dict[str, Any], asked: Asked) -> str | None:
    """What keeps a row from being the time of a network; None where nothing does."""
    if name not in asked.networks:
        return f"{name!r:.60} is none of the files that were asked about"
    if name in times:
        return f"{name} stands twice"
    if not written:
        return None
    try:
        ms = float(written.replace("_", "?"))  # which Python would read as nothing
    except ValueError:
        return f"{name}: {MS_COLUMN} must be a number, but got {written!r:.60}"
    if not 0 < ms <= LONGEST_MS:
        return f"{name}: {MS_COLUMN} must be above 0 and at most {LONGEST_MS:,.0f}, but got {written:.60}"
    return None
