"""A calibration for a person: what it will cost, and its tables."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from nas.calibration.analysis import FLOORS, GROUPS, Analysis, Resolution, analyse, of, resolutions
from nas.calibration.picture import draw
from nas.calibration.plan import PUBLISHED, Plan, epochs_at_full_size
from nas.calibration.ranking import FAILED, Estimate
from nas.calibration.record import SCORES_FILE, Scores, Training, Trainings, curve_of
from nas.calibration.signals import UNTRAINED, heading, stage_features
from nas.cores import num_cores
from nas.errors import ConfigError, few
from nas.files import write_whole
from nas.recipes.recipe import plain_recipe
from nas.recipes.signals import RANKING_SIGNALS
from nas.run.dry_run import TRAINING_PASSES
from nas.run.folder import RunFolder, versions
from nas.space.reference import IMAGENET_CLASSES
from nas.spreadsheets import as_cells
from nas.units import count, duration

MACS_PER_CORE_SECOND = 18e9  # median over hybrid.yaml's trainings (11 to 27 for most): bf16, a busy core with AVX-512
SHORT_SECONDS = 900.0  # that a calibration takes without being asked twice, whatever the search
MOST_TIMES_A_SEARCH = 10  # that a calibration takes without being asked twice
MANY_NAMES = 6  # names shown of a list
FILES = ("trainings.csv", SCORES_FILE, "fidelities.csv", "signals.csv", "agreement.csv", "calibration.json", "calibration.png")


# Before the first training


def show_estimate(plan: Plan, done: Trainings, console: Console) -> None:
    """What will be trained and about how long that takes, and everything that was left out."""
    waiting = [t for t in plan.trainings if not done.is_done(t)]
    settings = plan.search.calibration
    lines = [
        f"{plan.search.name}: {len(plan.architectures)} architectures x {len(plan.fidelities)} fidelities "
        f"({', '.join(plan.fidelities)}) x {settings.seeds} seeds = {len(plan.trainings)} trainings; "
        f"the truth is {plan.against}"
    ]
    if len(waiting) < len(plan.trainings):
        lines.append(f"continuing: {len(plan.trainings) - len(waiting)} trainings are done already")
    lines += list(plan.notes)
    if waiting:
        lines.append(_estimate(plan, waiting))
    for line in lines:
        console.print(line, soft_wrap=True)


def _estimate(plan: Plan, waiting: list[Training]) -> str:
    total = sum(_macs(plan, training) for training in waiting)
    text = f"estimated cost: {len(waiting)} trainings, {count(total)} MACs"
    seconds = _seconds(plan, total)
    if seconds is None:
        return f"{text}; an ETA follows after the first"
    cores = plan.search.resources.workers or num_cores()
    return f"{text}, about {duration(seconds)} on {cores} CPU cores; an ETA follows after the first"


def check_proportion(plan: Plan, done: Trainings) -> None:
    """ConfigError where what is still to be trained is long, and more than ten times the search whose proxy it is about."""
    proxy = plan.search.proxy.model_copy(update={"rungs": ()})
    own = [t for t in plan.trainings if t.recipe.model_copy(update={"rungs": ()}) == proxy]
    total = sum(_macs(plan, training) for training in plan.trainings if not done.is_done(training))
    seconds = _seconds(plan, total)
    if not own or (seconds is not None and seconds < SHORT_SECONDS):
        return
    search = sum(_macs(plan, t) for t in own) / len(own) * (plan.search.trials + len(plan.search.baselines))
    if total > MOST_TIMES_A_SEARCH * search:
        settings = plan.search.calibration
        raise ConfigError(
            f"calibrate: would take {total / search:.0f} times what the search itself takes. Give --yes if that is meant, or "
            f"make it smaller: calibration.designs, calibration.random (now {settings.random}), calibration.seeds (now "
            f"{settings.seeds}), calibration.fidelities."
        )


def expected_seconds(plan: Plan, done: Trainings) -> float | None:
    """About how long the trainings take that are still to be done; None on GPUs, whose speed nobody knows beforehand."""
    return _seconds(plan, sum(_macs(plan, training) for training in plan.trainings if not done.is_done(training)))


def _seconds(plan: Plan, macs: float) -> float | None:
    resources = plan.search.resources
    return None if resources.gpu else macs / MACS_PER_CORE_SECOND / (resources.workers or num_cores())


def _macs(plan: Plan, training: Training) -> float:
    manifest, epochs = plan.manifests[training.fidelity], epochs_at_full_size(training.recipe)
    trained, judged = len(manifest.train), len(manifest.validation)
    share = (TRAINING_PASSES * epochs * trained + training.recipe.epochs * judged) / (epochs * (trained + judged))
    return plan.work(training)[1] * share


# What came out


def show_calibration(plan: Plan, done: Trainings, *, root: Path, console: Console) -> Analysis:
    """Write tables and the picture of what is trained so far, print what they say, and give it."""
    folder = RunFolder(root).calibration
    trainings, causes = trainings_of(plan, done)
    scores = scores_of_plan(plan, Scores(folder / SCORES_FILE))
    analysis = _analysis(plan, trainings, scores)
    mixers = {name: {s.mixer for s in a.stages} for name, a in plan.architectures.items()}
    checks = resolutions(trainings, plan.fidelities, mixers)
    write_whole(folder / "fidelities.csv", as_cells(analysis.fidelities).to_csv(index=False))
    write_whole(folder / "agreement.csv", as_cells(analysis.signals).to_csv(index=False))
    write_whole(folder / "signals.csv", as_cells(_signal_values(plan, trainings, scores, analysis)).to_csv(index=False))
    write_whole(folder / "calibration.json", json.dumps(_summary(plan, analysis, checks), indent=1))
    draw(analysis, folder / "calibration.png", title=_title(analysis, plan))
    _print(analysis, checks, console)
    _print_failures(causes, console)
    missing = len(plan.trainings) - len(trainings)
    if missing:
        console.print(f"{missing} of {len(plan.trainings)} trainings have not ended yet.")
    written = [name for name in FILES if (folder / name).exists()]
    console.print(f"Everything lies in {folder}: {', '.join(written)}", soft_wrap=True)
    return analysis


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
        rows.append({**named, **_signals_of(row), "accuracy": accuracy, "seconds": float(row["seconds"])})
    return pd.DataFrame(rows, columns=["fidelity", "name", "seed", "seconds", *RANKING_SIGNALS]), causes


def _signals_of(row: dict[str, str]) -> dict[str, float | None]:
    """What the curve of a training says by each signal."""
    curve = curve_of(row)
    return {name: signal.of(curve) for name, signal in RANKING_SIGNALS.items()} if curve else {}


def scores_of_plan(plan: Plan, scores: Scores) -> pd.DataFrame:
    """The scores that are known: columns name, seed and one a score."""
    scored = [(beginning, scores.of(beginning)) for beginning in plan.beginnings]
    return pd.DataFrame([{"name": each.name, "seed": each.seed, **values} for each, values in scored if values])


def _signal_values(plan: Plan, trainings: pd.DataFrame, scores: pd.DataFrame, analysis: Analysis) -> pd.DataFrame:
    """One row a network, fidelity, seed and signal, larger being better; a failed training has none. `cost_share` is its
    fidelity's mean duration over the truth's, or over the longest one's where the truth comes from outside."""
    shares = dict(zip(analysis.fidelities.fidelity, analysis.fidelities.cost_ratio, strict=True)) | {UNTRAINED: 0.0}
    column_of = {"id_vars": ["name", "fidelity", "seed"], "var_name": "signal", "value_name": "value"}
    values = trainings[trainings.accuracy > FAILED].melt(value_vars=list(RANKING_SIGNALS), **column_of).dropna()
    if len(scores):
        values = pd.concat([values, scores.assign(fidelity=UNTRAINED).melt(**column_of)])
    keys = {name: architecture.key for name, architecture in plan.architectures.items()}
    table = values.assign(key=values.name.map(keys), cost_share=values.fidelity.map(shares).round(4))
    return table[["name", "key", "fidelity", "seed", "signal", "value", "cost_share"]].round({"value": 6})


def _analysis(plan: Plan, trainings: pd.DataFrame, scores: pd.DataFrame) -> Analysis:
    costs = {name: plan.search.space.cost(a) for name, a in plan.architectures.items()}
    table = pd.DataFrame({c: {name: getattr(cost, c) for name, cost in costs.items()} for c in FLOORS})
    table = table.reindex(list(costs))
    if plan.truth is None:
        chance = 1 / len(plan.manifests[plan.against].class_names)
        truth = None
    else:
        chance = 1 / IMAGENET_CLASSES if plan.against == PUBLISHED else 0.0
        truth = pd.Series(plan.truth)
    wanted = plan.search.calibration.wanted_tau
    return analyse(
        trainings,
        table,
        against=plan.against,
        truth=truth,
        wanted_tau=wanted,
        chance=chance,
        scores=scores,
        stages=stage_features(plan.architectures),
    )


def _summary(plan: Plan, analysis: Analysis, checks: list[Resolution]) -> dict[str, Any]:
    """What calibration.json holds: plain data, NaN as null."""
    rows = json.loads(analysis.fidelities.to_json(orient="records", double_precision=6))
    signals = analysis.signals.astype({"tau": object}).where(analysis.signals.tau.notna(), None)
    for row in rows:
        own = signals[signals.fidelity == row["fidelity"]]
        row["signals"] = dict(zip(own.signal, own.tau, strict=True))
    return {
        "against": analysis.against,
        "wanted_tau": plan.search.calibration.wanted_tau,
        "seeds": plan.search.calibration.seeds,
        "shrink": plan.search.calibration.shrink,
        "ranked": analysis.ranked,
        "hardly_train": analysis.broken,
        "failed_in_the_reference": analysis.dropped,
        "fidelities": {row["fidelity"]: row for row in rows},
        "floors": {c: {key: _plain(score) for key, score in keys.items()} for c, keys in analysis.floors.items()},
        "verdict": analysis.verdict,
        "resolution": [_resolution_line(check) for check in checks],
        "recipes": {name: plain_recipe(recipe) for name, recipe in plan.fidelities.items()},
        "manifests": {name: manifest.hash for name, manifest in plan.manifests.items()},
        "versions": versions(),
    }


def _plain(score: Estimate) -> list[float | None]:
    return [None if np.isnan(v) else round(v, 6) for v in score]


# Tables


def _print(analysis: Analysis, checks: list[Resolution], console: Console) -> None:
    console.print(_fidelity_table(analysis))
    console.print(_signal_table(analysis))
    for line in [*_remarks(analysis), *analysis.verdict]:
        console.print(line, soft_wrap=True)
    if not checks:
        console.print(
            "Resolution: not checked. Give two fidelities that differ in image_size only to see if it reorders the mixers.",
            soft_wrap=True,
        )
    for check in checks:
        console.print(_resolution_table(check))
        console.print(_resolution_line(check), soft_wrap=True)


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
        table.add_row(label, "0", "0", *_scores(analysis.floors[c].__getitem__, others), "", style="dim")
    return table


def _signal_table(analysis: Analysis) -> Table:
    table = Table(title="agreement by signal", title_justify="left", box=None, pad_edge=False)
    table.add_column("fidelity, signal", no_wrap=True)
    for column in ("tau", "top", "band", "repeats", "params", "regret"):
        table.add_column(column, justify="right", no_wrap=True)
    for fidelity, rows in analysis.signals.groupby("fidelity", sort=False):
        table.add_row(str(fidelity))
        for _, row in rows.iterrows():
            keys = ("top", "band", "repeats", "over_params")
            bare = ["-" if np.isnan(row[key]) else f"{row[key]:.2f}" for key in keys]
            regret = "-" if np.isnan(row.regret) else f"{100 * row.regret:.1f}"
            table.add_row(f"  {heading(row.signal)}", str(of(row, "tau")), *bare, regret)
    return table


def _scores(score_of: Callable[[str], Estimate], others: list[str]) -> list[str]:
    """Kendall tau with its interval, then without one for other groups of architectures, then Spearman."""
    bare = [score_of(f"tau_{g}") for g in others] + [score_of("rho_trained")]
    return [str(score_of("tau_trained")), *("-" if np.isnan(e.value) else f"{e.value:.2f}" for e in bare)]


def _points(raw: float, shared: float) -> str:
    return "-" if np.isnan(raw) else f"{100 * raw:.1f} ({100 * shared:.1f})"


def _remarks(analysis: Analysis) -> list[str]:
    """How to read the table, and what is not ranked in it."""
    whom = "architectures that train at all" if analysis.broken else "all architectures"
    lines = [
        f"s: seconds a training; tau: Kendall's tau-b of {whom} with its 95 % interval, then that of others (top: the truth's "
        "upper half); rho: Spearman; noise: points of accuracy between seeds, in brackets without what moves all together. "
        "All intervals stand in fidelities.csv.",
        "By signal: band: tau over pairs whose MACs differ by at most a factor of 1.3; repeats: between two seeds; params: tau "
        "less that of params alone; regret: points of accuracy that the best of the signal's first three lacks to the best of "
        "all; combined: predicted from all signals, MACs, params and the stages, for architectures that were not learnt from. "
        "All intervals, and the difference to MACs, stand in agreement.csv.",
    ]
    if analysis.seeds > 1:
        lines.append(
            f"Trainings are compared with the truth's other seeds; {analysis.against}'s row is the ceiling that seeds leave."
        )
    elif analysis.seeds == 1:
        lines.append("One seed only: trainings share it with the truth, which flatters them, and there is no ceiling to see.")
    if analysis.broken:
        broken = few(analysis.broken, most=MANY_NAMES)
        lines.append(f"{len(analysis.broken)} of {len(analysis.ranked)} hardly train in the truth: {broken}.")
    if analysis.dropped:
        lines.append(f"Left out, because their training failed in the truth: {few(analysis.dropped, most=MANY_NAMES)}.")
    return lines


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
    for line in causes[:MANY_NAMES]:
        console.print(f"failed: {line}", soft_wrap=True)
    if len(causes) > MANY_NAMES:
        console.print(f"and {len(causes) - MANY_NAMES} more failures, see the column cause of trainings.csv")


def _title(analysis: Analysis, plan: Plan) -> str:
    ranked = len(analysis.ranked) - len(analysis.broken)
    return f"{plan.search.name}: agreement with {analysis.against} on {ranked} architectures that train"
