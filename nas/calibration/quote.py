"""How far the ranking of a run's proxy can be trusted, in one line; it imports without torch."""

import json
from pathlib import Path

from nas.calibration.ranking import Estimate
from nas.calibration.record import calibrated_as
from nas.data.manifest import read_manifest
from nas.errors import NasError
from nas.run.folder import RunFolder, calibrate_command, read_run
from nas.run.settings.search import Search

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, NasError)


def quote(root: Path) -> str:
    """One line on how far the ranking of the run in `root` can be trusted, for its report; never an error."""
    folder, search = read_run(root)
    path = folder.calibration / "calibration.json"
    how = calibrate_command(root)
    if not path.exists():
        return f"proxy: never calibrated, so nobody knows how far its ranking can be trusted; measure it: {how}"
    try:
        calibration, name = _calibration(folder, search)
        if name is None:
            return f"proxy: calibrated as another recipe or on other images ({folder.calibration}), not as this one; {how}"
        return _quoted(calibration, name, folder)
    except UNREADABLE as error:
        return f"proxy: {path} cannot be read ({type(error).__name__}); write it again: {how}"


def is_calibrated(root: Path) -> bool:
    """Whether the proxy of the run in `root` was calibrated as it is, on its own images."""
    try:
        return _calibration(*read_run(root))[1] is not None
    except UNREADABLE:
        return False


def _calibration(folder: RunFolder, search: Search) -> tuple[dict, str | None]:
    """The calibration in a run's folder, and which of its fidelities is the run's proxy."""
    calibration = json.loads((folder.calibration / "calibration.json").read_text(encoding="utf-8"))
    images = read_manifest(folder.manifest).hash if folder.manifest.exists() else None
    return calibration, calibrated_as(calibration, search.proxy, manifest=images)


def _quoted(calibration: dict, name: str, folder: RunFolder) -> str:
    row, number = calibration["fidelities"].get(name), len(calibration["ranked"]) - len(calibration["hardly_train"])
    macs = calibration["floors"]["macs"]["tau_trained"][0]
    where = f"on {number} architectures, MACs alone {macs:.2f}; {folder.calibration}"
    if row is None or row["tau_trained"] is None:
        return f"proxy: its calibration has no result yet; {folder.calibration}"
    tau = Estimate(row["tau_trained"], row["tau_trained_low"], row["tau_trained_high"])
    if row["is_reference"] and calibration["seeds"] < 2:
        return f"proxy: it is the truth of its own calibration, with one seed only, so nobody knows how far it repeats {where}"
    if row["is_reference"]:
        return f"proxy: it is the truth of its own calibration; another seed of it agrees with Kendall tau {tau} {where}"
    return f"proxy: Kendall tau {tau} to {calibration['against']!r} {where}"
