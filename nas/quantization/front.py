"""The networks of a run's front in int8, into the run's record: accuracy on the images they were judged by, and time."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from nas.calibration.record import hashed
from nas.devices.measure import fingerprint
from nas.devices.rounds import Timed
from nas.errors import NasError, few
from nas.quantization.directory import SECONDS_A_FILE, facts_of
from nas.quantization.images import ShownImages
from nas.quantization.quantise import FLOAT_FILE, INT8_FILE, Int8Plan, Quantised, quantise, times_of_files
from nas.quantization.subject import trained_subject
from nas.report.terminal import show_front
from nas.run.additions import INT8, Addition, adding
from nas.run.reading import read
from nas.terminal import Terminal
from nas.winners.lookup import Trained, trained_trial
from nas.winners.selection import members

NUMBERS_SHOWN = 6


class Done(NamedTuple):
    """A trial's network that was quantised, and the folder of its files."""

    trial: int
    folder: Path
    quantised: Quantised


def quantise_front(root: Path, plan: Int8Plan, console: Console, *, images: int) -> None:
    """Quantises all on or near the front of a run, and its baselines, puts what came of each into the record, and shows it.

    What the record holds under the same plan on the same machine stays. Where the machine is too noisy for times, accuracies
    are put down without.
    """
    reading = read(root)
    numbers = [chosen.origin["trial"] for chosen in members(root)]
    able, lacking = _with_weights(root, numbers)
    size = reading.search.proxy.full_size
    setup = {"plan": plan._asdict(), "images": images, "machine": fingerprint(plan.conditions(size))}
    which = hashed(list(setup.values()))
    recorded = {each.trial for each in reading.additions if each.kind == INT8 and each.which == which}
    missing = {number: trained for number, trained in able.items() if number not in recorded}
    if missing:
        shown = trained_subject(next(iter(missing.values()))).shown(images)
        with _quantised(missing, shown, plan) as done, adding(reading.search, reading.folder, on_wait=console.print) as add:
            times, why = _times(done, plan, image_size=size)
            for each in done:
                facts = {**facts_of(each.quantised, times.get(each.trial, why), shown, plan), **setup, "measured": _now()}
                add(Addition(INT8, each.trial, which, facts))
        console.print(*([f"not timed: {why}"] if why else []), soft_wrap=True)
    console.print(_summary(len(missing), len(able), lacking), soft_wrap=True)
    show_front((root,), console, int8=True)


def _with_weights(root: Path, numbers: list[int]) -> tuple[dict[int, Trained], list[str]]:
    """The trained networks by trial, and the trials whose weights are not in the run; NasError where there are none."""
    able, lacking, why = {}, [], ""
    for number in numbers:
        try:
            able[number] = trained_trial(root, number)
        except NasError as error:
            lacking.append(str(number))
            why = str(error)
    if not able:
        raise NasError(f"{root}: no network of the front has its weights in the run, such as: {why}")
    return able, lacking


@contextmanager
def _quantised(networks: dict[int, Trained], shown: ShownImages, plan: Int8Plan) -> Iterator[list[Done]]:
    """Every network with its files, which are gone when the `with` block ends."""
    done: list[Done] = []
    with tempfile.TemporaryDirectory() as scratch:
        with Terminal(stderr=True).status("quantising") as status:
            for number, trained in networks.items():
                status.update(f"quantising trial {number}, {len(done) + 1} of {len(networks)}")
                folder = Path(scratch) / str(number)
                folder.mkdir()
                done.append(Done(number, folder, quantise(trained_subject(trained).network, shown, folder, plan)))
        yield done


def _times(done: list[Done], plan: Int8Plan, *, image_size: int) -> tuple[dict[int, dict[str, Timed]], str]:
    """The times of both files by trial, all networks in turns; or why there are none."""
    files = {f"{each.trial}/{name}": each.folder / name for each in done for name in (FLOAT_FILE, INT8_FILE)}
    try:
        with Terminal(stderr=True).status(f"measuring {len(files)} files in turns"):
            timed = times_of_files(files, plan, image_size=image_size, seconds=SECONDS_A_FILE * len(files))
    except NasError as error:
        return {}, str(error)
    return {e.trial: {name: timed[f"{e.trial}/{name}"] for name in (FLOAT_FILE, INT8_FILE)} for e in done}, ""


def _summary(new: int, able: int, lacking: list[str]) -> str:
    rest = f"; without weights in this run, and so left out: trials {few(lacking, most=NUMBERS_SHOWN)}" if lacking else ""
    return f"{new} networks quantised, {able - new} were in the record{rest}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
