"""A run on one page: an HTML file with everything in it, and its tables and pictures as files."""

import base64
import json
import os
import tempfile
import webbrowser
from datetime import UTC, datetime
from importlib.resources import files
from itertools import cycle
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment
from plotly.offline import get_plotlyjs
from rich.console import Console

from nas.colours import CELLS
from nas.errors import ConfigError, NasError
from nas.files import writable, write_whole
from nas.report import figures, pictures, words
from nas.report.findings import Findings, work_out
from nas.results.columns import axis_label
from nas.results.front import write_tables
from nas.run.folder import RunFolder, export_command, retrain_command
from nas.run.record import TrialState
from nas.space.costs import cost_kind
from nas.space.mixers import MIXERS
from nas.terminal import command

REPORT = "report.html"
STILLS = {
    "front.png": "Accuracy against cost",
    "hypervolume.png": "Hypervolume as trainings end",
    "importance.png": "Which choices matter",
    "mixers.png": "Mixers by stage",
}
"""What the pictures of a report show."""
PLACE = "NUMBER"  # of a trial, in a command
SECTIONS = [
    ("found", "What was found"), ("trials", "All trials"), ("course", "What it cost"), ("choices", "Which choices matter"),
    ("space", "What was refused"), ("next", "What to change next"), ("trust", "How far to trust it"), ("words", "The words"),
]  # fmt: skip


def write_report(root: Path, console: Console, *, against: tuple[Path, ...] = (), out: Path | None = None) -> Path:
    """Write report.html, trials.csv, front.csv and the PNGs into the run, or into the folder `out`.

    `against` are runs to lay beside its hypervolume. NasError for a run that can only be read, where no other folder is given.
    """
    if out is None and root.is_dir() and not os.access(root, os.W_OK):
        raise NasError(f"{root}: the report is written into the run, but it can only be read. Give another folder with --out.")
    if out is not None:
        _refuse_foreign(out)
    findings, target = work_out(root, against=against), out or root
    with writable(target):
        target.mkdir(parents=True, exist_ok=True)
    write_tables(target, findings.trials, findings.best)
    drawn = write_pictures(findings, target)
    path = target / REPORT
    write_whole(path, render(findings))
    size = path.stat().st_size / 1e6
    console.print(f"{path}: one page of {size:.1f} MB, and {', '.join(drawn)} beside it", soft_wrap=True)
    return path


def show_in_browser(page: Path, console: Console) -> None:
    """Open a page in the user's browser, or say that there is none here."""
    if not webbrowser.open(page.absolute().as_uri()):
        console.print(f"no browser could be opened here: copy {page} to where there is one", soft_wrap=True)


def _refuse_foreign(out: Path) -> None:
    """NasError for a folder that holds files, none of them a report's or a run's: some may be tables of the user's own."""
    if out.suffix == ".html":
        raise ConfigError(f"--out: must be a folder, in which {REPORT} and its pictures are written, but got {out}.")
    own = [path.name for path in sorted(out.glob("[!.]*"))]
    if own and not {REPORT, RunFolder(out).search_yaml.name} & {*own}:
        raise NasError(f"{out}: must be new, empty or a report's, but holds {own[0]}. Choose another --out.")


def write_pictures(findings: Findings, root: Path) -> list[str]:
    """Draws the PNG files into the folder `root`; their names."""
    pictures.draw_front(findings.standing, root / "front.png")
    pictures.draw_course(findings.courses, root / "hypervolume.png")
    drawn = ["front.png", "hypervolume.png"]
    if len(findings.importances):
        pictures.draw_importance(findings.importances, root / "importance.png")
        pictures.draw_mixers(findings.mixers, root / "mixers.png")
        drawn += ["importance.png", "mixers.png"]
    return drawn


def render(findings: Findings) -> str:
    """The page as text."""
    here = files("nas.report")
    shown, axes = _figures(findings), figures.front_figures(findings.trials, findings.other_costs, findings.beside)
    template = Environment(autoescape=True, trim_blocks=True).from_string((here / "page.html").read_text(encoding="utf-8"))
    return template.render(
        **words.words(findings),
        sections=SECTIONS,
        figures=shown,
        data=_embedded(
            {
                "commands": _commands(findings),
                "figures": shown,
                "axes": axes,
                "kept": _kept(findings),
                "trials": trial_rows(findings),
                "name": findings.search.name,
            }
        ),
        stills=_stills(findings),
        axes=[axis_label(findings.cost), *axes],
        plotly=get_plotlyjs(),
        style=page_style(),
        script=(here / "page.js").read_text(encoding="utf-8"),
        root=findings.reading.folder.root,
        written=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )


def page_style() -> str:
    """The style sheet, in which every mixer has a colour."""
    colours = "; ".join(f"--mixer-{name}: {colour}" for name, colour in zip(MIXERS, cycle(CELLS), strict=False))
    return f":root {{ {colours} }}\n" + (files("nas.report") / "page.css").read_text(encoding="utf-8")


def _embedded(data: dict[str, Any]) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _figures(findings: Findings) -> dict[str, Any]:
    trials, best = findings.trials, findings.best
    shown = {
        "front": figures.front_figure(findings.standing, findings.beside),
        "by_trainings": figures.course_figure(findings.courses, "trainings"),
        "by_seconds": figures.course_figure(findings.courses, "seconds"),
        "curves": figures.curves_figure(trials, best),
        "pattern": figures.pattern_figure(best),
    }
    if len(findings.importances):
        shown["importance"] = figures.importance_figure(findings.importances)
    if len(findings.mixers):
        shown["mixers"] = figures.mixer_figure(findings.mixers)
        shown["parallel"] = figures.parallel_figure(trials, best, findings.search)
    return shown


def _commands(findings: Findings) -> dict[str, str]:
    """What takes a network out of the run, with NUMBER in the trial's place."""
    root, search = findings.reading.folder.root, findings.search
    shown = command("show", f"{root}:{PLACE}")
    return {"export": export_command(root, PLACE), "retrain": retrain_command(root, search, PLACE), "show": shown}


def trial_rows(findings: Findings) -> list[dict[str, Any]]:
    """Every trial as the page's table and its card show it."""
    costs = [findings.cost, *findings.other_costs]
    labels = {cost: axis_label(cost) for cost in costs}
    return [_trial_row(row, labels) for _, row in findings.trials.iterrows()]


def _trial_row(row: pd.Series, labels: dict[str, str]) -> dict[str, Any]:
    architecture, curve = json.loads(row["architecture"]), json.loads(row["curve"])
    by = f"{row['baseline']} (baseline)" if isinstance(row["baseline"], str) else _word(row["proposed_by"])
    written = {label: cost_kind(cost).write(row[cost]) for cost, label in labels.items() if pd.notna(row[cost])}
    return {
        "trial": int(row["trial"]),
        "state": TrialState(row["state"]).words,
        "accuracy": _share(row["accuracy"]),
        "expected": _share(row["expected"]),
        "macs": int(row["macs"]),
        "params": int(row["params"]),
        "seconds": round(float(row["seconds"]), 1),
        "stages": row["stages"],
        "by": by,
        "cause": _word(row["cause"]),
        "costs": written,
        "curve": [_share(epoch["accuracy"]) for epoch in curve],
        "blocks": architecture.pop("stages"),
        "network": architecture,
    }


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _share(value: float | None) -> float | None:
    return None if value is None or pd.isna(value) else round(float(value), 4)


def _stills(findings: Findings) -> list[tuple[str, str]]:
    """The pictures for a reader without scripts, as in many mail programs: what each shows, and its bytes as text."""
    with tempfile.TemporaryDirectory() as scratch:
        names = write_pictures(findings, Path(scratch))
        return [(STILLS[name], base64.b64encode((Path(scratch) / name).read_bytes()).decode()) for name in names]


def _kept(findings: Findings) -> list[int]:
    """The trials whose weights lie in the run, so that they can be exported as they are."""
    return [int(path.stem) for path in findings.reading.folder.weights(0).parent.glob("*.safetensors") if path.stem.isdigit()]
