"""What can be said before anything is trained: a design's cost, a space's size and spread, what a search would take."""

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from nas.cores import num_cores
from nas.data.cache import cache_folder, free_bytes
from nas.data.draw import DataCost
from nas.errors import few
from nas.recipes.recipe import Recipe
from nas.run.settings.search import Search, check_possible
from nas.space.architecture import Architecture
from nas.space.constraints import extreme, random_architecture
from nas.space.cost import cost
from nas.space.costs import COSTS, COUNTED, Cost, cost_kind
from nas.units import count, duration

DRY_RUN_DRAWS = 2000
TRAINING_PASSES = 3  # a backward pass costs about two forward passes
START_SECONDS = 20.0  # until Ray and its workers are there
PROXY_DRAWS = 200
NAME_BYTES = 320  # of the search's memory for an image's name: 1.28 million took 400 MB
DIGITS = 1438  # of the 1,797, a fifth is the test split


def show_cost(name: str, architecture: Architecture, *, image_size: int, counted: Cost, console: Console) -> None:
    """One design's cost as a small table."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("design", name)
    table.add_row("stages", architecture.describe())
    table.add_row("counted at", f"{image_size} px")
    for column in COUNTED:
        kind, value = COSTS[column], getattr(counted, column)
        table.add_row(kind.heading, f"{kind.write(value)}  ({value:,}) {kind.remark}".rstrip())
    for estimate in counted.estimates:
        kind = cost_kind(estimate.name)
        ends = f"90 % interval {kind.write(estimate.low)} to {kind.write(estimate.high)}"
        table.add_row(kind.heading, f"{kind.write(estimate.value)}  (foretold, {ends})")
    console.print(table)


class SearchPace(NamedTuple):
    """What else an estimate of a search's time rests on."""

    epochs: int
    """Of all its searched trials, as far as rungs let them go on."""
    speed_of: Callable[[Architecture], float]
    """Multiply-accumulates a second of training an architecture on a core of this machine."""


def show_space(search: Search, console: Console, *, pace: SearchPace | None = None, data: DataCost | None = None) -> None:
    """A dry run: size, feasible share, spread of the costs, baselines, what the search would cost at `pace`, and its `data`."""
    check_possible(search)
    space, rng = search.space, random.Random(0)
    drawn = [random_architecture(space, rng) for _ in range(DRY_RUN_DRAWS)]
    costs = [search.cost(a) for a in drawn]
    able = [i for i, c in enumerate(costs) if search.constraints.allow(c)]
    console.print(
        f"{search.name}: {space.size:,} architectures from {len(space.axes)} open choices, "
        f"counted at {space.image_size} px and {space.num_classes} classes"
    )
    console.print(
        f"feasible: {len(able) / DRY_RUN_DRAWS:.1%} of {DRY_RUN_DRAWS:,} random draws meet the constraints ({_limits(search)})",
    )
    console.print(_spread(search, costs, able))
    for line in _reachable(search, costs):
        console.print(line, soft_wrap=True)
    console.print(_axes(search))
    for name in space.overridden:
        console.print(f"space.all_stages.{name} has no effect: every stage has its own. Set it in stages.", soft_wrap=True)
    if search.baselines:
        console.print(_baselines(search))
    for remark in search.seen.remarks:
        console.print(remark, soft_wrap=True)
    if data is not None:
        console.print(_data(search, data), soft_wrap=True)
    images = num_images(search.proxy) if data is None else (data.train, data.validation)
    console.print(_estimate(search, [drawn[i] for i in able] or drawn, images, pace), soft_wrap=True)


def _limits(search: Search) -> str:
    parts = []
    for name, limits in search.constraints.limits.items():
        ends = ((">=", limits.min), ("<=", limits.max))
        parts += [f"{name} {sign} {cost_kind(name).write(value)}" for sign, value in ends if value is not None]
    return ", ".join(parts) or "none are set"


def _reachable(search: Search, costs: list[Cost]) -> list[str]:
    """Of each device the share of random draws within its limit, and the smallest time that the space reaches."""
    lines = []
    for name, file in search.foretold.items():
        limits = search.constraints.limits.get(name)
        share = np.mean([limits.excess(c.at_most(name)) == 0 for c in costs]) if limits else None
        met = (
            "no limit is set"
            if share is None
            else f"{share:.1%} of the draws meet its limit, the upper end of their interval too"
        )
        least = extreme(search.space, name, sign=1, cost_of=search.cost)
        quality = file.quality
        lines.append(
            f"{name}: {met}; the smallest that the space reaches is {least:,.1f} ms; {quality.networks} networks "
            f"were measured, tau {quality.tau:.2f} on those held out (MACs {quality.macs_tau:.2f})"
        )
    return lines


def _spread(search: Search, costs: list[Cost], able: list[int]) -> Table:
    table = Table(title="spread of random draws", title_justify="left", box=None, pad_edge=False)
    for column in ("", "smallest", "10 %", "median", "90 %", "largest"):
        table.add_column(column, justify="right" if column else "left")
    for name in (*COUNTED, *search.sizes, *search.foretold):
        kind = cost_kind(name)
        for which, rows in (("all", range(len(costs))), ("feasible", able)):
            values = [costs[i].of(name) for i in rows]
            if values:
                table.add_row(f"{kind.heading}, {which}", *(kind.write(v) for v in np.quantile(values, (0, 0.1, 0.5, 0.9, 1))))
    return table


def _axes(search: Search) -> Table:
    table = Table(title="open choices", title_justify="left", box=None, pad_edge=False, show_header=False)
    for name, options in search.space.axes.items():
        table.add_row(name, ", ".join(str(o) for o in options))
    return table


def _baselines(search: Search) -> Table:
    table = Table(title="baselines", title_justify="left", box=None, pad_edge=False)
    devices = [cost_kind(name).heading for name in search.foretold]
    for column in ("", "MACs", "params", *devices, "within the constraints"):
        table.add_column(column, justify="left" if column in ("", "within the constraints") else "right")
    for name in search.baselines:
        counted = search.cost(search.design(name))
        broken = ", ".join(f"no: {k}" for k in search.constraints.excess(counted))
        times = [_baseline_ms(search, name, cost_name) for cost_name in search.foretold]
        table.add_row(name, count(counted.macs), count(counted.params), *times, broken or "yes")
    return table


def _baseline_ms(search: Search, baseline: str, name: str) -> str:
    """What a baseline is foretold to take on a device, and what the device file never saw of it."""
    design = search.design(baseline)
    strange = search.foretold[name].unseen([design])
    never = f" (a guess: never saw {few(strange, most=2)})" if strange else ""
    return cost_kind(name).write(search.cost(design).of(name)) + never


def _data(search: Search, data: DataCost) -> str:
    """What the images cost before the first trial."""
    number, size = data.num_images, search.proxy.full_size
    return (
        f"data: {search.proxy.data}, {number:,} images listed in {data.listing_seconds:.1f} s ({data.train:,} to train on, "
        f"{data.validation:,} to judge by, {data.test:,} to test on). Decoded once to {size} px they take "
        f"{count(data.cache_bytes)}B of {cache_folder()} on each machine ({count(free_bytes())}B are free here) and about "
        f"{duration(data.decoding_seconds)}, by a sample; their names take {count(NAME_BYTES * number)}B of memory"
    )


def _estimate(search: Search, drawn: list[Architecture], images: tuple[int, int] | None, pace: SearchPace | None) -> str:
    """What training the whole budget on so many images, judged by so many, would take for architectures such as `drawn`."""
    recipe = search.proxy
    if images is None:
        return (
            "estimated cost: unknown until the data is read (--data reads it); the search shows an ETA after its first epochs"
        )
    trained, judged = images
    num_classes = recipe.num_classes or search.space.num_classes
    costs = [cost(a, image_size=recipe.full_size, num_classes=num_classes) for a in drawn[:PROXY_DRAWS]]
    macs = float(np.mean([c.macs for c in costs]))
    own = [cost(search.design(name), image_size=recipe.full_size, num_classes=num_classes).macs for name in search.baselines]
    epochs = search.trials * recipe.epochs if pace is None else pace.epochs
    total = (epochs * macs + recipe.epochs * sum(own)) * (TRAINING_PASSES * trained + judged)
    beside = f" and {len(own)} baselines" if own else ""
    text = (
        f"estimated cost: {search.trials} trainings{beside} of {recipe.epochs} epochs on {trained:,} images, judged by "
        f"{judged:,}, {count(macs)} MACs an image at {recipe.full_size} px: {count(total)} MACs"
    )
    if search.trials * recipe.epochs > epochs:
        text += f", since only the most promising go on after {recipe.rungs[0]} of them"
    if search.resources.gpu == 0 and pace is not None:
        workers = search.resources.workers or max(1, int(num_cores() / search.resources.cpu))
        typical = min(
            drawn[:PROXY_DRAWS], key=lambda a: abs(cost(a, image_size=recipe.full_size, num_classes=num_classes).macs - macs)
        )
        seconds = START_SECONDS + total / pace.speed_of(typical) / workers
        text += f"; about {duration(seconds)} here, {workers} at once, at the speed that was just measured"
    return f"{text}; the search shows an ETA"


def num_images(recipe: Recipe) -> tuple[int, int] | None:
    """Images that an epoch trains on and is judged by, where that can be said without reading the data; None otherwise."""
    if recipe.data == "digits":
        drawn = DIGITS if recipe.images_per_class is None else 10 * recipe.images_per_class
    elif recipe.images_per_class and recipe.num_classes:
        drawn = recipe.images_per_class * recipe.num_classes
    else:
        return None
    judged = round(drawn * recipe.validation_share)
    return drawn - judged, judged
