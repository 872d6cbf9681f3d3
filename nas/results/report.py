"""What the command line says of a run: its front, what was found, which command comes next; and how a retraining goes."""

import json
import time
from collections import Counter
from pathlib import Path

from rich.console import Console

from nas.errors import NasError
from nas.results.calibrate import quote
from nas.results.front import frame, require_front, write
from nas.search.decoding_bar import shown_decoding
from nas.search.folder import read_run
from nas.search.pareto import pareto
from nas.search.progress import front_hypervolume, front_table, reference_costs
from nas.search.record import Record, front, objectives
from nas.search.settings import Search
from nas.search.storage import read_records
from nas.space.architecture import Architecture
from nas.training.data import make_manifest
from nas.training.loop import Epoch
from nas.training.recipe import Recipe
from nas.training.retrain import retrain
from nas.units import count, duration, percent


def show_front(root: Path, console: Console, *, as_json: bool = False) -> None:
    """Write a run's tables and picture and print its front, the baselines beside it."""
    folder, search = read_run(root)
    records = read_records(search, folder)
    best = front(records, search)
    try:
        write(records, search, folder)
    except NasError as error:  # somebody else's run, say: its front can be looked at all the same
        Console(stderr=True).print(f"nothing was written: {error}", highlight=False, soft_wrap=True)
    require_front(records, best, folder)
    if as_json:
        _print_json(best, console)
        return
    console.print(f"[bold]Pareto front of {root}[/]: accuracy against {' and '.join(search.objectives[1:])}", soft_wrap=True)
    console.print(front_table(best))
    for line in [*_baseline_lines(records, best, search), quote(root)]:
        console.print(line, highlight=False, soft_wrap=True)


def _print_json(best: list[Record], console: Console) -> None:
    rows = json.loads(frame(best).to_json(orient="records"))
    for row in rows:
        row |= {name: json.loads(row[name]) for name in ("curve", "architecture")}
    console.print_json(data=rows)


def _baseline_lines(records: list[Record], best: list[Record], search: Search) -> list[str]:
    """For each trained baseline its result, and what it is beaten by."""
    lines = []
    for r in records:
        if r.baseline is None or r.accuracy is None:
            continue
        above = [f for f in best if f.number != r.number and pareto([objectives(r, search), objectives(f, search)]) == [1]]
        outside = ", outside the constraints" if search.constraints.excess(r.cost) else ""
        beaten = f"dominated by {', '.join(str(f.number) for f in above)}" if above else "not dominated"
        lines.append(
            f"baseline {r.baseline} (trial {r.number}): {percent(r.accuracy)}, {count(r.cost.macs)} MACs{outside}, {beaten}"
        )
    return lines


def show_result(root: Path, console: Console) -> None:
    """The last lines of a search: what was found, where it lies, which command comes next."""
    folder, search = read_run(root)
    records = read_records(search, folder)
    states = Counter(r.state for r in records)
    seconds = sum(r.seconds for r in records)
    show_front(root, console)
    best = [r for r in front(records, search) if not r.baseline]
    volume = front_hypervolume(records, search, reference_costs(search))
    console.print(
        f"{states['complete']} trained in full, {states['stopped']} stopped early, {states['failed']} failed, "
        f"{states['answered']} answered from the record; {duration(seconds)} of training in all; hypervolume {volume:.4f}",
        highlight=False,
        soft_wrap=True,
    )
    for cause, number in Counter(r.cause for r in records if r.state == "failed").most_common(5):
        console.print(f"  failed {number} times: {cause}", highlight=False, soft_wrap=True)
    for line in remarks(records):
        console.print(line, highlight=False, soft_wrap=True)
    console.print(
        f"The record lies in {root}: study.db, trials.csv, front.csv, front.png, search.yaml", highlight=False, soft_wrap=True
    )
    if best:
        top = max(best, key=lambda r: r.accuracy).number
        console.print(f"Next: nas export {root} --trial {top} --out exported/{top}", highlight=False, soft_wrap=True)


def remarks(records: list[Record]) -> list[str]:
    """What was not trained quite as the recipe says, counted."""
    last = [(r.number, r.curve[-1]) for r in records if r.curve]
    retried = [str(number) for number, epoch in last if epoch.get("retried")]
    cut = [f"{number} ({epoch['pieces']})" for number, epoch in last if epoch.get("pieces", 1) > 1]
    lines = []
    if retried:
        lines.append(f"  diverged and begun again once at a lower learning rate: {len(retried)} (trials {', '.join(retried)})")
    if cut:
        lines.append(f"  batches cut into pieces for want of memory: {len(cut)} (trials and pieces {', '.join(cut)})")
    return lines


def show_retraining(architecture: Architecture, recipe: Recipe, *, out: Path, seed: int, device: str, console: Console) -> None:
    """Retrain with a line an epoch, then the result on the test split."""
    with shown_decoding(console, image_size=recipe.full_size) as told:
        manifest = make_manifest(recipe, seed=seed, on_decoded=told)
    began, first = time.monotonic(), []

    def told(epoch: Epoch) -> None:
        first.append(epoch.epoch)
        each = (time.monotonic() - began) / len(first)
        left = duration(each * (recipe.epochs - epoch.epoch))
        console.print(
            f"epoch {epoch.epoch}/{recipe.epochs}: training loss {epoch.train_loss:.4f} · ETA {left}", highlight=False
        )

    console.print(
        f"{architecture.describe()}: {len(manifest.train) + len(manifest.validation):,} training images", highlight=False
    )
    result = retrain(architecture, recipe, manifest, out=out, seed=seed, device=device, on_epoch=told)
    console.print(
        f"test accuracy {percent(result.accuracy)} on {result.test_images:,} images, seen once. Everything lies in {out}.\n"
        f"Next: nas export {out} --out exported/{out.name}",
        highlight=False,
        soft_wrap=True,
    )
