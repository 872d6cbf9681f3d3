"""What the command line says at the end of a search, which command comes next, and how a retraining goes."""

import time
from collections import Counter
from pathlib import Path

from rich.console import Console

from nas.results.front_table import show_front
from nas.search.decoding_bar import shown_decoding
from nas.search.folder import read_run
from nas.search.progress import front_hypervolume, reference_costs
from nas.search.record import Record, front
from nas.search.storage import read_records
from nas.space.architecture import Architecture
from nas.training.data import make_manifest
from nas.training.loop import Epoch
from nas.training.recipe import Recipe
from nas.training.retrain import retrain
from nas.units import duration, percent


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
