"""A calibration for a person: what it will cost, its tables and picture, and the one line that a search quotes of it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from nas.errors import NasError
from nas.files import replacing, write_whole
from nas.results.dry_run import MACS_PER_CORE_SECOND, TRAINING_PASSES
from nas.results.fidelities import FLOORS, GROUPS, Analysis, Resolution, analyse, of, resolutions
from nas.results.ranking import FAILED, Estimate
from nas.search.calibration_plan import PUBLISHED, Plan, epochs_at_full_size
from nas.search.folder import RunFolder, read_run, versions
from nas.search.trainings import Training, Trainings, calibrated_as, plain_recipe
from nas.training.data import read_manifest
from nas.training.decoding import num_cores
from nas.units import count, duration

IMAGENET_CLASSES = 1000
MANY = 6  # names shown of a list
BLUE, GREEN = "#0072b2", "#009e73"  # these and the floors' can be told apart by colour-blind readers


# Before the first training


def show_estimate(plan: Plan, done: Trainings, console: Console) -> None:
    """What will be trained and about how long that takes, and everything that was left out."""
    left = [t for t in plan.trainings if not done.is_done(t)]
    settings = plan.search.calibration
    lines = [
        f"[bold]{plan.search.name}[/]: {len(plan.architectures)} architectures x {len(plan.fidelities)} fidelities "
        f"({', '.join(plan.fidelities)}) x {settings.seeds} seeds = {len(plan.trainings)} trainings; "
        f"the truth is {plan.against}"
    ]
    if len(left) < len(plan.trainings):
        lines.append(f"continuing: {len(plan.trainings) - len(left)} trainings are done already")
    lines += list(plan.notes)
    if left:
        lines.append(_estimate(plan, left))
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


def _estimate(plan: Plan, left: list[Training]) -> str:
    total = sum(_macs(plan, training) for training in left)
    text = f"estimated cost: {len(left)} trainings, {count(total)} MACs"
    resources = plan.search.resources
    if resources.gpu:
        return f"{text}; an ETA follows after the first"
    cores = resources.workers or num_cores()
    return (
        f"{text}, about {duration(total / MACS_PER_CORE_SECOND / cores)} on {cores} CPU cores; an ETA follows after the first"
    )


def _macs(plan: Plan, training: Training) -> float:
    manifest, epochs = plan.manifests[training.fidelity], epochs_at_full_size(training.recipe)
    trained, judged = len(manifest.train), len(manifest.validation)
    share = (TRAINING_PASSES * epochs * trained + training.recipe.epochs * judged) / (epochs * (trained + judged))
    return plan.work(training) * share


# What came out


def show_calibration(plan: Plan, done: Trainings, *, root: Path, console: Console) -> None:
    """Write fidelities.csv, calibration.json and calibration.png of what is trained so far, and print what they say."""
    folder = RunFolder(root).calibration
    trainings, causes = trainings_of(plan, done)
    analysis = _analysis(plan, trainings)
    mixers = {name: {s.mixer for s in a.stages} for name, a in plan.architectures.items()}
    checks = resolutions(trainings, plan.fidelities, mixers)
    write_whole(folder / "fidelities.csv", analysis.fidelities.to_csv(index=False))
    write_whole(folder / "calibration.json", json.dumps(_summary(plan, analysis, checks), indent=1))
    draw(analysis, folder / "calibration.png", title=_title(analysis, plan))
    _print(analysis, checks, console)
    _print_failures(causes, console)
    missing = len(plan.trainings) - len(trainings)
    if missing:
        console.print(f"{missing} of {len(plan.trainings)} trainings have not ended yet.", highlight=False)
    console.print(
        f"Everything lies in {folder}: trainings.csv, fidelities.csv, calibration.json, calibration.png",
        highlight=False,
        soft_wrap=True,
    )


def trainings_of(plan: Plan, done: Trainings) -> tuple[pd.DataFrame, list[str]]:
    """The ended trainings of a plan, a failed one with the accuracy FAILED; and the causes of failure, one line each."""
    rows, causes = [], []
    for training in plan.trainings:
        row = done.row(training)
        if row is None:
            continue
        accuracy = FAILED if row["cause"] else float(row["accuracy"])
        if row["cause"]:
            causes.append(f"{training.fidelity}, seed {training.seed}, {training.name}: {row['cause']}")
        named = {"fidelity": training.fidelity, "name": training.name, "seed": training.seed}
        rows.append({**named, "accuracy": accuracy, "seconds": float(row["seconds"])})
    return pd.DataFrame(rows, columns=["fidelity", "name", "seed", "accuracy", "seconds"]), causes


def _analysis(plan: Plan, trainings: pd.DataFrame) -> Analysis:
    costs = {name: plan.search.space.cost(a) for name, a in plan.architectures.items()}
    table = pd.DataFrame({c: {name: getattr(found, c) for name, found in costs.items()} for c in FLOORS})
    table = table.reindex(list(costs))
    if plan.truth is None:
        chance = 1 / len(plan.manifests[plan.against].class_names)
        truth = None
    else:
        chance = 1 / IMAGENET_CLASSES if plan.against == PUBLISHED else 0.0
        truth = pd.Series(plan.truth)
    wanted = plan.search.calibration.wanted_tau
    return analyse(trainings, table, against=plan.against, truth=truth, wanted_tau=wanted, chance=chance)


def _summary(plan: Plan, analysis: Analysis, checks: list[Resolution]) -> dict[str, Any]:
    """What calibration.json holds: plain data, NaN as null."""
    rows = json.loads(analysis.fidelities.to_json(orient="records", double_precision=6))
    return {
        "against": analysis.against,
        "wanted_tau": plan.search.calibration.wanted_tau,
        "seeds": plan.search.calibration.seeds,
        "shrink": plan.search.calibration.shrink,
        "ranked": analysis.ranked,
        "hardly_train": analysis.broken,
        "failed_in_the_reference": analysis.dropped,
        "fidelities": {row["fidelity"]: row for row in rows},
        "floors": {c: {key: _plain(found) for key, found in keys.items()} for c, keys in analysis.floors.items()},
        "verdict": analysis.verdict,
        "resolution": [_resolution_line(check) for check in checks],
        "recipes": {name: plain_recipe(recipe) for name, recipe in plan.fidelities.items()},
        "manifests": {name: manifest.hash for name, manifest in plan.manifests.items()},
        "versions": versions(),
    }


def _plain(found: Estimate) -> list[float | None]:
    return [None if np.isnan(v) else round(v, 6) for v in found]


# Tables


def _print(analysis: Analysis, checks: list[Resolution], console: Console) -> None:
    console.print(_fidelity_table(analysis))
    for line in [*_remarks(analysis), *analysis.verdict]:
        console.print(line, highlight=False, soft_wrap=True)
    if not checks:
        console.print(
            "Resolution: not checked. Give two fidelities that differ in image_size only to see if it reorders the mixers.",
            highlight=False,
            soft_wrap=True,
        )
    for check in checks:
        console.print(_resolution_table(check))
        console.print(_resolution_line(check), highlight=False, soft_wrap=True)


def _fidelity_table(analysis: Analysis) -> Table:
    others = ["all", "top"] if analysis.broken else ["top"]
    table = Table(title=f"agreement with {analysis.against}", title_justify="left", box=None, pad_edge=False)
    table.add_column("fidelity", no_wrap=True)
    for column in ("s", "cost", "tau", *(GROUPS[g] for g in others), "rho", "noise"):
        table.add_column(column, justify="right", no_wrap=True)
    for _, row in analysis.fidelities.iterrows():
        name = f"{row.fidelity} (the truth)" if row.is_reference else row.fidelity
        cells = [f"{row.seconds:.1f}", f"{row.cost_ratio:.2f}", *_scores(partial(of, row), others)]
        table.add_row(name, *cells, _points(row.noise, row.noise_shared_seed))
    for c, label in FLOORS.items():
        table.add_row(label, "0", "0", *_scores(analysis.floors[c].get, others), "", style="dim")
    return table


def _scores(found: Callable[[str], Estimate], others: list[str]) -> list[str]:
    """Kendall tau with its interval, then without one for other groups of architectures, then Spearman."""
    bare = [found(f"tau_{g}") for g in others] + [found("rho_trained")]
    return [str(found("tau_trained")), *("-" if np.isnan(e.value) else f"{e.value:.2f}" for e in bare)]


def _points(raw: float, shared: float) -> str:
    return "-" if np.isnan(raw) else f"{100 * raw:.1f} ({100 * shared:.1f})"


def _remarks(analysis: Analysis) -> list[str]:
    """How to read the table, and what is not ranked in it."""
    whom = "architectures that train at all" if analysis.broken else "all architectures"
    lines = [
        f"s: seconds a training; tau: Kendall's tau-b of {whom} with its 95 % interval, then that of others (top: the truth's "
        "upper half); rho: Spearman; noise: points of accuracy between seeds, in brackets without what moves all together. "
        "All intervals stand in fidelities.csv."
    ]
    if analysis.seeds > 1:
        lines.append(
            f"Trainings are compared with the truth's other seeds; {analysis.against}'s row is the ceiling that seeds leave."
        )
    elif analysis.seeds == 1:
        lines.append("One seed only: trainings share it with the truth, which flatters them, and there is no ceiling to see.")
    if analysis.broken:
        lines.append(f"{len(analysis.broken)} of {len(analysis.ranked)} hardly train in the truth: {_few(analysis.broken)}.")
    if analysis.dropped:
        lines.append(f"Left out, because their training failed in the truth: {_few(analysis.dropped)}.")
    return lines


def _few(names: list[str]) -> str:
    return ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")


def _resolution_table(check: Resolution) -> Table:
    title = f"mean rank (1 is best) of the architectures that hold a mixer, {check.small} against {check.large}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("mixer")
    for column in ("architectures", *(f"{size} px" for size in check.sizes), "moved"):
        table.add_column(column, justify="right")
    for mixer, row in check.ranks.iterrows():
        table.add_row(
            mixer, f"{row.architectures:.0f}", f"{row.small:.1f}", f"{row.large:.1f}", f"{row.large - row.small:+.1f}"
        )
    return table


def _resolution_line(check: Resolution) -> str:
    low, high = check.sizes
    moved = ", ".join(f"{name} from {a} to {b}" for name, a, b in check.movers)
    ceiling = "with one seed there is no ceiling to compare it with"
    if not np.isnan(check.ceilings[0]):
        ceiling = f"each with itself under another seed: {check.ceilings[0]:.2f} and {check.ceilings[1]:.2f}"
    return f"Resolution: tau between {low} and {high} px is {check.tau:.2f} ({ceiling}). Moved farthest: {moved}."


def _print_failures(causes: list[str], console: Console) -> None:
    for line in causes[:MANY]:
        console.print(f"failed: {line}", highlight=False, soft_wrap=True, markup=False)
    if len(causes) > MANY:
        console.print(f"and {len(causes) - MANY} more failures, see the column cause of trainings.csv", highlight=False)


# The picture


def _title(analysis: Analysis, plan: Plan) -> str:
    ranked = len(analysis.ranked) - len(analysis.broken)
    return f"{plan.search.name}: agreement with {analysis.against} on {ranked} architectures that train"


def draw(analysis: Analysis, path: Path, *, title: str) -> None:
    """Kendall tau with its interval against seconds a training; floors and ceiling as lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    shown = analysis.fidelities[analysis.fidelities.tau_trained.notna() & analysis.fidelities.seconds.notna()]
    _draw_fidelities(axes, shown[~shown.is_reference])
    for _, row in shown[shown.is_reference].iterrows():
        if analysis.seeds > 1:
            axes.axhline(
                row.tau_trained, color=GREEN, linewidth=1.2, label=f"{row.fidelity} with itself, other seeds (ceiling)"
            )
    for (c, label), (style, color) in zip(FLOORS.items(), (("--", "#d55e00"), (":", "#aa4499")), strict=True):
        floor = analysis.floors[c]["tau_trained"]
        axes.axhline(floor.value, color=color, linestyle=style, linewidth=1.6, label=f"{label}: {floor}")
    axes.set(xlabel="seconds a training", ylabel=f"Kendall tau to {analysis.against}, 95 % interval", title=title)
    axes.margins(x=0.12, y=0.1)
    axes.grid(color="#e4e7eb", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    if len(shown):
        _plain_seconds(axes)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
    plt.close(figure)


def _draw_fidelities(axes: Any, rows: pd.DataFrame) -> None:
    spread = np.abs(rows[["tau_trained_low", "tau_trained_high"]].to_numpy().T - rows.tau_trained.to_numpy())
    look = {"fmt": "o", "color": BLUE, "capsize": 3, "markersize": 6, "zorder": 3, "label": "fidelity"}
    axes.errorbar(rows.seconds, rows.tau_trained, yerr=spread, **look)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
    for _, row in rows.iterrows():
        at = row.seconds, row.tau_trained
        axes.annotate(row.fidelity, at, xytext=(8, 6), textcoords="offset points", color=BLUE, fontsize=9, bbox=box, zorder=4)


def _plain_seconds(axes: Any) -> None:
    """A logarithmic axis with 1, 2, 5, 10, ... instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())


# The quote


def quote(root: Path) -> str:
    """One line on how far the ranking of the run in `root` can be trusted, for its report; never an error."""
    folder, search = read_run(root)
    path = folder.calibration / "calibration.json"
    how = f"nas calibrate YOUR_SEARCH.yaml --out {root}"
    if not path.exists():
        return f"proxy: never calibrated, so nobody knows how far its ranking can be trusted; measure it: {how}"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        images = read_manifest(folder.manifest).hash if folder.manifest.exists() else None
        name = calibrated_as(found, search.proxy, manifest=images)
        if name is None:
            return f"proxy: calibrated as another recipe or on other images ({folder.calibration}), not as this one; {how}"
        return _quoted(found, name, folder)
    except (OSError, ValueError, KeyError, TypeError, NasError) as error:
        return f"proxy: {path} cannot be read ({type(error).__name__}); write it again: {how}"


def _quoted(found: dict, name: str, folder: RunFolder) -> str:
    row, number = found["fidelities"].get(name), len(found["ranked"]) - len(found["hardly_train"])
    macs = found["floors"]["macs"]["tau_trained"][0]
    where = f"on {number} architectures, MACs alone {macs:.2f}; {folder.calibration}"
    if row is None or row["tau_trained"] is None:
        return f"proxy: its calibration has no result yet; {folder.calibration}"
    tau = Estimate(row["tau_trained"], row["tau_trained_low"], row["tau_trained_high"])
    if row["is_reference"]:
        return f"proxy: it is the truth of its own calibration; another seed of it agrees with Kendall tau {tau} {where}"
    return f"proxy: Kendall tau {tau} to {found['against']!r} {where}"
