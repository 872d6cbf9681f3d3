"""Latency of networks by name: what each name stands for, and the table that a person reads."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import timm
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn

from nas.calibration.record import hashed
from nas.devices.conditions import Conditions
from nas.devices.measure import Latency, fingerprint, measure
from nas.errors import ConfigError, in_one_line, unknown
from nas.models.reparam import deployed
from nas.results.front import joined
from nas.results.points import finished, require_finished
from nas.results.standing import nearest, standing
from nas.run.additions import LATENCY, Addition, adding
from nas.run.folder import RunFolder
from nas.run.reading import Reading, read
from nas.space.reference import IMAGENET_CLASSES
from nas.terminal import Terminal, printable
from nas.winners.lookup import architecture_of

IN_TURNS = 8  # networks that are measured together, beside the one that all groups have in common
TIMM = "timm:"


def the_run_among(names: list[str], *, as_json: bool, most: int | None) -> Path | None:
    """The run whose networks are to be measured into its record; None where networks are named one by one.

    ConfigError for what doesn't go together.
    """
    runs = [Path(name) for name in names if RunFolder(Path(name)).search_yaml.is_file()]
    if runs and (len(names) > 1 or as_json):
        raise ConfigError(f"{runs[0]}: a run is measured alone and into its record. Give only it, without --json.")
    if most and not runs:
        raise ConfigError("--most: needs a run's folder to choose from. Leave it out, or give a run.")
    return runs[0] if runs else None


def network_of(name: str, *, image_size: int) -> nn.Module:
    """The freshly initialised network behind a name, as it is deployed.

    A name is what `architecture_of` knows, or `timm:NAME` for any model of timm. ConfigError with the nearest names for a
    wrong one, Infeasible for images too small.
    """
    if name.startswith(TIMM):
        return _timm_network(name.removeprefix(TIMM), image_size=image_size)
    return deployed(architecture_of(name), image_size=image_size, num_classes=IMAGENET_CLASSES)


def _timm_network(name: str, *, image_size: int) -> nn.Module:
    if not timm.is_model(name):
        raise ConfigError(unknown("model of timm", name, timm.list_models()))
    config = timm.get_pretrained_cfg(name)
    fixed = {"img_size": image_size} if config and config.fixed_input_size else {}
    try:
        network = timm.create_model(name, **fixed).eval()
        with torch.inference_mode():
            network(torch.zeros(1, 3, image_size, image_size))
    except Exception as error:  # timm's models raise anything for a size that they can't take
        raise ConfigError(
            f"{TIMM}{name}: must take images of {image_size} px, but: {in_one_line(error)}. Choose another --image-size."
        ) from None
    return network


def show_latency(names: list[str], conditions: Conditions, console: Console, *, as_json: bool) -> None:
    """Measures the networks in turns and prints each one's time, throughput and speed relative to the first."""
    machine = fingerprint(conditions)  # says that a device is missing before anything is built
    networks = {name: network_of(name, image_size=conditions.image_size) for name in dict.fromkeys(names)}
    with Terminal(stderr=True).status(Text(printable(f"measuring {', '.join(networks)}"))):
        latencies = measure(networks, conditions)
    if as_json:
        results = [_record(latency) for latency in latencies]
        print(json.dumps({"conditions": conditions.model_dump(), "fingerprint": machine, "results": results}))
        return
    console.print(_rendered(latencies))
    caption = f"speed: throughput over {latencies[0].name}'s, round by round; {_caption(conditions, machine)}"
    console.print(caption)


def _record(latency: Latency) -> dict:
    return {**latency._asdict(), "batch_ms": latency.batch_ms._asdict(), "speed": latency.speed._asdict()}


def _rendered(latencies: list[Latency]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "ms a batch", "quartiles", "images/s", "speed", "quartiles"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, ms, images, speed in latencies:
        table.add_row(
            name,
            f"{ms.median:.1f}",
            f"{ms.low:.1f} to {ms.high:.1f}",
            f"{images:.1f}",
            f"{speed.median:.3f}",
            f"{speed.low:.3f} to {speed.high:.3f}",
        )
    return table


def _caption(conditions: Conditions, machine: dict) -> str:
    turns = f"median of {conditions.repeats} rounds in turns after {conditions.warm_up} for warm-up"
    facts = ", ".join(f"{key} {' '.join(v) if isinstance(v, list) else v}" for key, v in machine.items())
    return f"{turns}\n{conditions.in_words}\n{facts}"


# A run's networks, into its record


def record_latencies(root: Path, conditions: Conditions, console: Console, *, most: int | None = None) -> None:
    """Measure the networks of a run, those nearest to its front first, and put each group's times into the record at once.

    A group is measured in turns with one network that is the same in all groups, and its times are that network's first time
    over the speed relative to it: what slows the machine down for a while slows both. `most` limits how many are measured in
    all; what the record has under the same conditions on the same machine stays.
    """
    setup = {"conditions": conditions.model_dump(), "machine": fingerprint(conditions)}
    reading = read(root)
    trials = joined([reading])
    require_finished(trials, (root,))
    which = hashed([setup["conditions"], setup["machine"]])
    recorded = {each.trial: each.value for each in reading.additions if each.kind == LATENCY and each.which == which}
    rows = nearest(standing(trials, reading.search.objectives[1:])).head(most)
    numbers = [int(number) for number in rows["trial"] if number not in recorded]
    anchor = next((value["anchor"] for value in recorded.values()), numbers[0] if numbers else None)
    anchor_ms = recorded[anchor]["latency_ms"] if anchor in recorded else None
    with adding(reading.search, reading.folder, on_wait=console.print) as add:
        for latency, median_ms in _in_groups(numbers, reading, conditions, anchor=anchor, anchor_ms=anchor_ms):
            facts = {**_scaled(latency, median_ms), **setup, "measured": _now(), "anchor": anchor}
            add(Addition(LATENCY, int(latency.name), which, facts))
    others = len(finished(trials)) - int(rows["within_limits"].sum())
    rest = f"; {others} farther from the front were not asked for (--most)" if others else ""
    line = f"{len(numbers)} networks measured, {len(recorded)} were in the record{rest}"
    console.print(line, soft_wrap=True)


def _in_groups(
    numbers: list[int], reading: Reading, conditions: Conditions, *, anchor: int | None, anchor_ms: float | None
) -> Iterator[tuple[Latency, float]]:
    """Each network's latency, and the first time in milliseconds of the network that all groups have in common."""
    others = [number for number in numbers if number != anchor]
    for start in range(0, max(len(others), len(numbers) > 0), IN_TURNS):
        group = [*([] if anchor is None else [anchor]), *others[start : start + IN_TURNS]]
        with Terminal(stderr=True).status(f"measuring {start + 1} to {start + len(group) - 1} of {len(numbers)} networks"):
            latencies = measure(_networks(group, reading, conditions), conditions)
        is_first, anchor_ms = anchor_ms is None, anchor_ms or latencies[0].batch_ms.median
        for latency in latencies if is_first else latencies[1:]:
            yield latency, anchor_ms


def _scaled(latency: Latency, anchor_ms: float) -> dict[str, Any]:
    """Median and quartiles of a batch's time as if the anchor had always taken `anchor_ms`."""
    median, low, high = (round(anchor_ms / speed, 4) for speed in latency.speed)
    return {"latency_ms": median, "quartiles_ms": [high, low]}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _networks(numbers: list[int], reading: Reading, conditions: Conditions) -> dict[str, nn.Module]:
    """The networks of a group by trial."""
    size, num_classes = conditions.image_size, reading.search.space.num_classes
    architectures = {number: reading.record(number).architecture for number in numbers}
    return {str(number): deployed(a, image_size=size, num_classes=num_classes) for number, a in architectures.items()}
