"""What the command line says at the end of a search, and which command comes next."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd
from rich.console import Console

from nas.errors import few
from nas.passwords import without_password
from nas.report.pictures import draw_front
from nas.report.terminal import TIES, show_standing
from nas.results.course import volumes
from nas.results.front import joined, write_tables
from nas.results.noise import highest, judged_by
from nas.results.points import require_finished
from nas.results.standing import Standing, standing
from nas.run.attempts import TimeSpent, time_spent
from nas.run.folder import export_command, longer_command, retrain_command
from nas.run.front import reference_costs
from nas.run.reading import Reading, read
from nas.run.record import TRAINED, TrialState
from nas.run.settings.search import Search
from nas.search.samplers.outlook import outlook_of
from nas.search.sources import sources_of
from nas.terminal import command
from nas.units import duration, percent


def show_result(search: Search, *, root: Path, console: Console) -> None:
    """Write a finished search's tables and picture, and print what was found, where it lies and which command comes next."""
    reading = read(root, search)
    trials, costs = joined([reading]), reading.search.objectives[1:]
    if not trials["accuracy"].notna().any():
        write_tables(root, trials, trials.iloc[:0])
    require_finished(trials, (root,))
    ranked = standing(trials, costs)
    write_tables(root, trials, ranked.best)
    draw_front(ranked, root / "front.png")
    show_standing(ranked, [reading], console)
    for line in [*_account(ranked, reading), *remarks(trials), *_next(ranked, reading)]:
        console.print(line, soft_wrap=True)


def _account(ranked: Standing, reading: Reading) -> list[str]:
    """What became of the trials, what that took, and what failed."""
    trials, states = ranked.trials, ranked.trials["state"].value_counts()
    volume = volumes(trials, ranked.costs, reference_costs(reading.search))["hypervolume"].iloc[-1]
    counts = ", ".join(f"{states.get(state, 0)} {state.words}" for state in (*TRAINED, TrialState.ANSWERED))
    lines = [f"{counts}; hypervolume {volume:.4f}", cost_line(time_spent(reading.records))]
    stopped = states.get(TrialState.STOPPED, 0)
    if len(ranked.best) == 1 and stopped:
        lines.append(f"the front is one network: {stopped} others got no farther than a rung, so that more may be as good")
    lines += [*_answers(reading), *outlook_lines(reading)]
    causes = trials.loc[trials["state"] == TrialState.FAILED, "cause"].value_counts()
    return lines + [f"  failed {number} times: {cause}" for cause, number in causes.head(5).items()]


def _answers(reading: Reading) -> list[str]:
    """From which other runs trainings were answered, how many, and what they took there."""
    sources = [record.source for record in reading.trials if record.source is not None]
    if not sources:
        return []
    runs = ", ".join(f"{number} from {run}" for run, number in Counter(source.run for source in sources).most_common())
    return [f"results of other runs spared {duration(sum(source.seconds for source in sources))}: {runs}"]


def outlook_lines(reading: Reading) -> list[str]:
    """What more trainings are expected to bring and to take, and how such an expectation came true before; else nothing."""
    outlook = outlook_of(reading.records, reading.search, sources_of(reading.search, reading.folder).history(reading.search))
    if outlook is None:
        return []
    line = (
        f"another {outlook.trainings} trainings should raise the hypervolume within the front's own range by "
        f"{percent(outlook.raised)}, for about {duration(outlook.seconds)} of training"
    )
    if outlook.foretold is not None and outlook.gained is not None:
        line += f"; of the last {outlook.trainings} that finished {percent(outlook.foretold)} were expected, "
        line += f"{percent(outlook.gained)} came of them"
    return [line]


def cost_line(spent: TimeSpent) -> str:
    """What the trials took, and how much of it was for nothing."""
    held = f" and {spent.gpu_seconds / 3600:.1f} GPU-hours" if spent.gpu_seconds else ""
    wasted = [
        f"{percent(seconds / spent.seconds)} {what}"
        for seconds, what in ((spent.failed_seconds, "failed"), (spent.repeated_seconds, "trained again after interruptions"))
        if seconds
    ]
    return f"{duration(spent.seconds)}{held} of training in all" + (f", of it {' and '.join(wasted)}" if wasted else "")


def remarks(trials: pd.DataFrame) -> list[str]:
    """What was not trained quite as the recipe says, counted."""
    last = [(n, curve[-1]) for n, curve in zip(trials["trial"], map(json.loads, trials["curve"]), strict=True) if curve]
    retried = [str(number) for number, epoch in last if epoch.get("retried")]
    cut = [f"{number} ({epoch['pieces']})" for number, epoch in last if epoch.get("pieces", 1) > 1]
    lines = []
    if retried:
        lines.append(f"  diverged and begun again once at a lower learning rate: {len(retried)} (trials {', '.join(retried)})")
    if cut:
        lines.append(f"  batches cut into pieces for want of memory: {len(cut)} (trials and pieces {', '.join(cut)})")
    return lines


def _next(ranked: Standing, reading: Reading) -> list[str]:
    """Where everything lies, and what a sensible reader does next: look, settle what is tied, take a network."""
    root, storage = reading.folder.root, reading.search.storage
    record = "study.db" if storage is None else without_password(storage)
    lines = [f"The record lies in {root}: {record}, trials.csv, front.csv, front.png, search.yaml"]
    judged = judged_by(reading)
    if judged is not None and judged.blind(ranked.best):
        return [*lines, f"Next: {longer_command(root, reading.search)}"]
    lines.append(f"Next, one page with everything: {command('report', root)}")
    top, equals = highest(ranked.trials, ranked.best)
    able = pd.concat([top.to_frame().T, equals])
    able = able[able.index.isin(ranked.best.index) & able["baseline"].isna()]
    if len(able) > 1:
        names = few(list(map(str, sorted(able["trial"]))), most=TIES)
        lines.append(f"The noise leaves trials {names} equally accurate; other seeds tell more: {command('replicate', root)}")
    return lines + _take(ranked, reading, able)


def _take(ranked: Standing, reading: Reading, able: pd.DataFrame) -> list[str]:
    """The commands that take the front's knee; without one the cheapest of those that may be the most accurate, `able`."""
    root = reading.folder.root
    if ranked.knee is not None and pd.isna(ranked.best.loc[ranked.knee, "baseline"]):
        number, which = ranked.best.loc[ranked.knee, "trial"], "the knee"
    elif len(able):
        number = able.loc[able[ranked.costs[0]].astype(float).idxmin(), "trial"]
        which = "the cheapest of these" if len(able) > 1 else "the best that was searched"
    else:
        return []
    lines = [f"Trial {number}, {which}, trained at length: {retrain_command(root, reading.search, number)}"]
    if reading.folder.weights(number).is_file():
        lines.append(f"The same as it is, for timm: {export_command(root, number)}")
    return lines
