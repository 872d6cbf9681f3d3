"""`nas quantize`: one network into a directory, or a run's front into its record."""

import math
from pathlib import Path

from rich.console import Console

from nas.errors import ConfigError
from nas.export.formats.table import check_formats
from nas.quantization.directory import check_free, in_lines, write_quantised
from nas.quantization.quantise import INT8_FILE, Int8Plan
from nas.quantization.subject import subject_of
from nas.terminal import Terminal


def check_asked(target: Path, *, out: Path | None, front: bool, is_one: bool, data: str | None, most_changed: float) -> None:
    """ConfigError for options that don't go together, NasError where ONNX Runtime is missing."""
    if front and is_one:
        raise ConfigError("--front: one choice at a time, but --trial or --knee is given as well. Leave one out.")
    if front and (out is not None or data is not None):
        raise ConfigError("--front: writes into the run's record, by its own images. Leave --out and --data out.")
    if not front and out is None:
        raise ConfigError(f"--out: must name the directory to write, as in --out int8/17; or take {target}'s whole --front.")
    if math.isnan(most_changed):
        raise ConfigError("--most-changed: must be a share of 100, but got nan. Write a number, such as 1.")
    check_formats(["onnx"])


def quantise_one(
    target: Path, out: Path, plan: Int8Plan, console: Console, *, data: str | None, images: int, force: bool
) -> None:
    """Writes one network in int8 into the directory `out` and says what that costs and gains."""
    check_free(out, force=force)
    subject = subject_of(target, data=data, console=console)
    shown = subject.shown(images)
    with Terminal(stderr=True).status(f"quantising {subject.name}"):
        quantised, times = write_quantised(subject, shown, out, plan)
    console.print(f"{out / INT8_FILE}: {subject.name} in int8", soft_wrap=True, style="bold")
    for line in (*in_lines(quantised, times, shown), *(f"mind: {note}" for note in subject.notes)):
        console.print(line, soft_wrap=True)
