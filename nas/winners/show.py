"""One network of a run with everything that the record knows of it."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nas.errors import NasError
from nas.run.folder import export_command, retrain_command
from nas.run.reading import read
from nas.run.record import Record
from nas.run.settings.search import Search
from nas.space.costs import COSTS, COUNTED, cost_kind
from nas.space.mixers import legend
from nas.terminal import printable
from nas.units import duration, percent
from nas.winners.lookup import recorded_trial, run_and_trial


def show_network(target: str, console: Console) -> None:
    """Print a trial's state, settings, costs, curve, origin and the commands that take it; NasError for anything else."""
    root, number = run_and_trial(Path(target))
    if number is None:
        named = f"such as {target.partition(':')[0]}:17"
        raise NasError(f"{target}: must name one network of a run, {named}. `nas front` and `nas list` show which.")
    reading = read(root)
    record = recorded_trial(reading, number)
    console.print(f"{root}:{number}: {_outcome(record)}", soft_wrap=True, style="bold")
    console.print(_stages(record))
    console.print(legend([record.architecture.describe()]), soft_wrap=True)
    for line in _facts(record, reading.search):
        console.print(line, soft_wrap=True)
    if record.curve:
        console.print(_curve(record))
    if record.accuracy is not None:
        kept = reading.folder.weights(record.number).is_file()
        commands = [export_command(root, record.number)] if kept else []
        for line in [*commands, retrain_command(root, reading.search, record.number)]:
            console.print(line, soft_wrap=True)


def _outcome(record: Record) -> str:
    """What became of a trial."""
    name = f"{record.baseline}, " if record.baseline else ""
    reached = f", {percent(record.accuracy)}" if record.accuracy is not None else f", {record.cause}" if record.cause else ""
    return f"{name}{record.architecture.describe()}, {record.state.words}{reached}"


def _stages(record: Record) -> Table:
    """Every setting that a stage has, a column a stage; then the network's own."""
    data = record.architecture.to_dict()
    stages = data.pop("stages")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", *(f"stage {i}" for i in range(1, len(stages) + 1))):
        table.add_column(heading)
    for name in dict.fromkeys(name for stage in stages for name in stage):
        table.add_row(name, *(printable(str(stage.get(name, ""))) for stage in stages))
    for name, value in data.items():
        table.add_row(name, str(value))
    return table


def _facts(record: Record, search: Search) -> Iterator[str]:
    """What it costs, who proposed it and why, and what its training took."""
    costs = [f"{COSTS[name].heading} {COSTS[name].write(getattr(record.cost, name))}" for name in COUNTED]
    costs += [f"{cost_kind(e.name).heading} {cost_kind(e.name).write(e.value)}" for e in record.cost.estimates]
    space = search.space
    yield f"costs, at {space.image_size} px and {space.num_classes:,} classes: {', '.join(costs)}"
    if record.why is not None:
        yield f"proposed {_reasons(record)}"
    if record.start:
        yield f"near the start point {record.start}"
    if record.answered_from is not None:
        yield f"the same network as trial {record.answered_from}, whose result it has"
    attempts = f", {len(record.attempts)} attempts" if len(record.attempts) > 1 else ""
    yield f"trained for {duration(record.seconds or record.trained_seconds)}{attempts}, seed {record.seed}, key {record.key}"


def _reasons(record: Record) -> str:
    """Why a sampler proposed it, in words."""
    why = record.why
    assert why is not None, "asked for with reasons only"
    parts = [f"by {why.by}"] if why.by else ["by the sampler"]
    if why.parents:
        parts.append(f"from trial {' and '.join(map(str, why.parents))}")
    if why.changes:
        parts.append("with " + ", ".join(f"{name} {before} → {now}" for name, (before, now) in why.changes.items()))
    if why.predicted is not None:
        spread = f" ± {100 * why.spread:.1f}" if why.spread is not None else ""
        parts.append(f"foretold {percent(why.predicted)}{spread}")
    return ", ".join(parts)


def _curve(record: Record) -> Table:
    """The learning curve, a line an epoch."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("epoch", "accuracy", "loss", "train loss", "s"):
        table.add_column(heading, justify="right")
    for epoch in record.curve:
        loss = "" if epoch.loss is None else f"{epoch.loss:.3f}"
        table.add_row(str(epoch.epoch), percent(epoch.accuracy), loss, f"{epoch.train_loss:.3f}", f"{epoch.seconds:.1f}")
    return table
