"""A run on one page: an HTML file with everything in it, and its pictures as PNG files."""

import json
import random
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from jinja2 import Environment
from plotly.offline import get_plotlyjs
from rich.console import Console

from nas.config import parse_yaml, read_text
from nas.files import write_whole
from nas.results import figures, pictures
from nas.results.advice import advise
from nas.results.calibrate import quote
from nas.results.compare import differences_that_matter, refuse
from nas.results.course import failures, ledger, rejections, saved, volumes
from nas.results.front import COLUMNS, COST_LABELS, dominated_by, front, knee
from nas.results.front_table import require_finished
from nas.results.importance import FEWEST, by_stage_and_mixer, effects, importances, searched
from nas.results.noise import noise_of, tied
from nas.results.reading import Reading, read
from nas.results.trials import table
from nas.search.progress import reference_costs
from nas.search.settings import Search
from nas.space.architecture import INITIALS
from nas.space.constraints import random_architecture
from nas.units import count, duration, percent

SECTIONS = [
    ("found", "What was found"), ("course", "What it cost"), ("choices", "Which choices matter"), ("space", "What was refused"),
    ("next", "What to change next"), ("trust", "How far to trust it"),
]  # fmt: skip
DRAWS = 1000
HIDDEN = ("unreadable_share", "retry_lr", "channels_last", "compile")  # settings of a training that say nothing of its result


class Found(NamedTuple):
    """A run and everything that was worked out of it."""

    reading: Reading
    trials: pd.DataFrame
    best: pd.DataFrame
    knee: int | None
    courses: dict[str, pd.DataFrame]
    importances: pd.DataFrame
    effects: pd.DataFrame
    mixers: pd.DataFrame

    @property
    def search(self) -> Search:
        """The run's settings."""
        return self.reading.search

    @property
    def cost(self) -> str:
        """The first cost that the search weighed."""
        return self.search.objectives[1]


def write_report(root: Path, console: Console, *, against: tuple[Path, ...] = ()) -> Path:
    """Write report.html, trials.csv, front.csv and the PNGs into the run; `against` are runs to lay beside its hypervolume."""
    found = work_out(root, against=against)
    folder = found.reading.folder
    write_whole(folder.root / "trials.csv", found.trials[COLUMNS].to_csv(index=False))
    write_whole(folder.root / "front.csv", found.best[COLUMNS].to_csv(index=False))
    drawn = write_pictures(found)
    path = folder.root / "report.html"
    write_whole(path, render(found))
    size = path.stat().st_size / 1e6
    console.print(f"{path}: one page of {size:.1f} MB, and {', '.join(drawn)} beside it", highlight=False, soft_wrap=True)
    return path


def work_out(root: Path, *, against: tuple[Path, ...] = ()) -> Found:
    """Everything the report shows; NasError for a run without a finished trial."""
    reading = read(root)
    trials = table(reading, COLUMNS)
    require_finished(trials, (root,))
    costs, reference = reading.search.objectives[1:], reference_costs(reading.search)
    courses = {str(reading.folder.root.name): volumes(trials, costs, reference)}
    for other in against:
        beside = read(other)
        refuse(reading, beside, differences_that_matter(reading, beside))
        courses[f"{other.name} ({beside.search.search.sampler})"] = volumes(table(beside, COLUMNS), costs, reference)
    return Found(
        reading,
        trials,
        front(trials, costs[0], "accuracy", *costs[1:]),
        knee(trials, costs[0]),
        courses,
        importances(trials, reading.search),
        effects(trials, reading.search),
        by_stage_and_mixer(trials),
    )


def write_pictures(found: Found) -> list[str]:
    """The names of the PNG files that were drawn."""
    root = found.reading.folder.root
    pictures.draw_front(found.trials, found.best, cost=found.cost, path=root / "front.png")
    pictures.draw_course(found.courses, root / "hypervolume.png")
    drawn = ["front.png", "hypervolume.png"]
    if len(found.importances):
        pictures.draw_importance(found.importances, root / "importance.png")
        pictures.draw_mixers(found.mixers, root / "mixers.png")
        drawn += ["importance.png", "mixers.png"]
    return drawn


def render(found: Found) -> str:
    """The page as text."""
    here = files("nas.results")
    shown = _figures(found)
    template = Environment(autoescape=True, trim_blocks=True).from_string((here / "page.html").read_text(encoding="utf-8"))
    return template.render(
        **_head(found),
        **_found(found),
        **_course(found),
        **_choices_and_space(found),
        **_trust(found),
        sections=SECTIONS,
        figures=shown,
        data=_embedded({"root": str(found.reading.folder.root), "figures": shown, "trials": _points(found)}),
        plotly=get_plotlyjs(),
        style=(here / "page.css").read_text(encoding="utf-8"),
        script=(here / "page.js").read_text(encoding="utf-8"),
        root=found.reading.folder.root,
        written=datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC"),
    )


def _embedded(data: dict[str, Any]) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _figures(found: Found) -> dict[str, Any]:
    trials, best = found.trials, found.best
    shown = {
        "front": figures.front_figure(trials, best, found.knee, found.cost),
        "by_trainings": figures.course_figure(found.courses, "trainings"),
        "by_seconds": figures.course_figure(found.courses, "seconds"),
        "curves": figures.curves_figure(trials, best),
        "pattern": figures.pattern_figure(best),
    }
    if len(found.importances):
        shown["importance"] = figures.importance_figure(found.importances)
    if len(found.mixers):
        shown["mixers"] = figures.mixer_figure(found.mixers)
        shown["parallel"] = figures.parallel_figure(trials, best, found.search)
    return shown


def _points(found: Found) -> list[dict[str, Any]]:
    """What the page says of a trial once it is marked."""
    done = found.trials[found.trials["state"] == "complete"]
    kept = done.index.isin(found.best.index) | done["baseline"].notna()
    columns = ("trial", "line", "accuracy", "macs", "params", found.cost)
    return [
        {"trial": trial, "line": line, "accuracy": round(accuracy, 6), "x": x, "kept": bool(k),
         "about": f"{percent(accuracy)} · {count(macs)} MACs · {count(params)} params"}
        for (trial, line, accuracy, macs, params, x), k in zip(done[list(columns)].itertuples(index=False), kept, strict=True)
    ]  # fmt: skip


# The words


def _head(found: Found) -> dict[str, Any]:
    trials, best, search = found.trials, found.best, found.search
    top = best.loc[best["accuracy"].idxmax()]
    trained = trials["state"].isin(["complete", "stopped", "failed"])
    whole = int((trials["state"] == "complete").sum())
    bend = ""
    if found.knee is not None:
        row = best.loc[found.knee]
        bend = f" Its knee, trial {row['trial']}, has {percent(row['accuracy'])} at {count(row['macs'])} MACs."
    lead = (
        f"{whole:,} of {search.search.trials + len(search.baselines):,} architectures were trained in full; "
        f"{len(best)} of them form the front between {count(best['macs'].min())} and {count(best['macs'].max())} MACs, "
        f"up to {percent(top['accuracy'])}.{bend}"
    )
    tiles = [
        ("best accuracy", percent(top["accuracy"]), f"trial {top['trial']}, {count(top['macs'])} MACs"),
        ("on the front", str(len(best)), f"of {whole:,} trained in full"),
        ("hypervolume", f"{next(iter(found.courses.values()))['hypervolume'].iloc[-1]:.4f}", "share of the box"),
        ("machine time", duration(trials["seconds"].sum()), f"{int(trained.sum()):,} trainings"),
        (
            "failed",
            str(int((trials["state"] == "failed").sum())),
            f"{int((trials['state'] == 'stopped').sum()):,} stopped early",
        ),
    ]
    return {"name": search.name, "lead": lead, "tiles": tiles}


def _found(found: Found) -> dict[str, Any]:
    others = tied(found.trials, found.best, found.cost)
    against = " and ".join(COST_LABELS[c] for c in found.search.objectives[1:])
    ties = (
        f"Within that noise {len(others)} more networks could be on the front, so read neighbours as ties."
        if len(others)
        else ""
    )
    names = {m for c in found.best.columns if c.endswith("_mixer") for m in found.best[c].dropna()}
    letters = ", ".join(f"{letter} {name}" for name, letter in INITIALS.items() if name in names)
    return {
        "found_text": f"No network of the front is beaten by another in both accuracy and {against}. Bars are 95 % intervals.",
        "rows": _rows(found),
        "letters": f"An architecture reads mixer, depth · width, stage by stage: {letters}.",
        "noise": str(noise_of(found.reading.folder)).capitalize() + ".",
        "ties": ties,
    }


def _rows(found: Found) -> list[dict[str, Any]]:
    trials, best = found.trials, found.best
    baselines = trials[trials["baseline"].notna() & (trials["state"] == "complete") & ~trials.index.isin(best.index)]
    beaten = dominated_by(trials, found.cost, "accuracy", *found.search.objectives[2:])
    shown = pd.concat([best, baselines]).sort_values([found.cost, "accuracy"], kind="stable")
    return [_row(row, on_front=i in best.index, is_knee=i == found.knee, beaten=beaten[i]) for i, row in shown.iterrows()]


def _row(row: pd.Series, *, on_front: bool, is_knee: bool, beaten: tuple[str, ...]) -> dict[str, Any]:
    notes = ["knee"] if is_knee else []
    if pd.notna(row["baseline"]):
        notes += [str(row["baseline"]), *([] if row["affordable"] else ["outside the constraints"])]
        notes.append(f"dominated by {', '.join(beaten[:3])}" if beaten else "not dominated")
    span = "" if pd.isna(row["accuracy_low"]) else f"{100 * row['accuracy_low']:.1f} to {100 * row['accuracy_high']:.1f}"
    return {
        "trial": row["trial"], "accuracy": percent(row["accuracy"]), "interval": span, "macs": count(row["macs"]),
        "params": count(row["params"]), "line": row["line"], "note": ", ".join(notes), "on_front": on_front,
    }  # fmt: skip


def _course(found: Found) -> dict[str, Any]:
    spared = saved(found.trials)
    reference = ", ".join(count(v) for v in reference_costs(found.search))
    return {
        "volume_text": f"Hypervolume is the share of the box from no cost to {reference}, and from accuracy 1 to 0, that the "
        "front dominates. Time is summed over trainings, however many ran at once.",
        "ledger": [(r.what, r.trainings, duration(r.seconds), percent(r.share)) for r in ledger(found.trials).itertuples()],
        "saved": f"Rungs spared about {duration(spared['rungs'])}, answers from the record {duration(spared['record'])}.",
        "failures": [(r.kind, r.trials, r.example) for r in failures(found.trials).itertuples()],
    }


def _choices_and_space(found: Found) -> dict[str, Any]:
    number = len(searched(found.trials))
    if number < FEWEST:
        text = (
            f"Only {number} searched networks were trained in full; from {FEWEST} on, this section says which choices matter."
        )
    else:
        sure = found.importances[found.importances["share"] > found.importances["chance"]]["axis"].head(4).tolist()
        text = (
            f"Beyond what chance would bring, {', '.join(sure)} decided what is good at equal MACs."
            if sure
            else "No choice stands out from chance at equal MACs yet."
        ) + " Correlation in what was tried, not proof: the search tried good choices more often."
    return {"choices_text": text, **_refused(found), "advice": _advice(found)}


def _refused(found: Found) -> dict[str, Any]:
    asked, refused, limits = rejections(found.reading)
    space, rng = found.search.space, random.Random(0)
    able = sum(found.search.constraints.allow(space.cost(random_architecture(space, rng))) for _ in range(DRAWS))
    return {
        "refused_text": f"{percent(able / DRAWS)} of the space’s {space.size:,} architectures meet the constraints, "
        f"by {DRAWS:,} random draws. The search proposed {asked:,}; {refused:,} ({percent(refused / max(asked, 1))}) were "
        "refused before any training.",
        "refused": limits.most_common(),
    }


def _plain(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value


def _advice(found: Found) -> list[Any]:
    calibrated = (found.reading.folder.calibration / "calibration.json").exists()
    course = next(iter(found.courses.values()))
    return advise(found.trials, found.best, found.search, effects=found.effects, course=course, calibrated=calibrated)


def _trust(found: Found) -> dict[str, Any]:
    folder, recipe = found.reading.folder, found.search.proxy.model_dump(mode="json", exclude_none=True)
    head = parse_yaml(read_text(folder.search_yaml), where=str(folder.search_yaml)).get("run", {})
    hashes = sorted({str(h) for h in found.trials["manifest"].dropna()})
    given = {
        "manifest": ", ".join(hashes) or "none",
        "judged by": f"{noise_of(folder).images or 0:,} images",
        "seed": found.search.search.seed,
    }
    given |= {"sampler": found.search.search.sampler, "started": head.get("started", "unknown"), **head.get("versions", {})}
    return {
        "quote": quote(folder.root),
        "recipe": [
            (k.replace("_", " "), _plain(v)) for k, v in recipe.items() if k not in HIDDEN and v not in ({}, [], 0.0, False)
        ],
        "provenance": list(given.items()),
    }
