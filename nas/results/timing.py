"""Latency of networks by name: what each name stands for, and the table that a person reads."""

import json

import timm
from rich.console import Console
from rich.table import Table
from torch import nn

from nas.errors import ConfigError, unknown
from nas.models.latency import Conditions, Latency, fingerprint, measure
from nas.models.metaformer import build
from nas.models.reparam import merge
from nas.results.lookup import architecture_of
from nas.space.cost import feature_sides

CLASSES = 1000
TIMM = "timm:"


def network_of(name: str, *, image_size: int) -> nn.Module:
    """The freshly initialised network behind a name, as it is deployed: affine mixers are merged.

    A name is what `architecture_of` knows, or `timm:NAME` for any model of timm. ConfigError with the nearest names for a
    wrong one, Infeasible for images too small.
    """
    if name.startswith(TIMM):
        return _timm_network(name.removeprefix(TIMM), image_size=image_size)
    architecture = architecture_of(name)
    feature_sides(architecture, image_size=image_size)
    network = build(architecture, image_size=image_size, num_classes=CLASSES)
    affine = any(stage.mixer == "affine" for stage in architecture.stages)
    return merge(network, architecture)[0] if affine else network


def _timm_network(name: str, *, image_size: int) -> nn.Module:
    if not timm.is_model(name):
        raise ConfigError(unknown("model of timm", name, timm.list_models()))
    config = timm.get_pretrained_cfg(name)
    fixed = {"img_size": image_size} if config and config.fixed_input_size else {}
    return timm.create_model(name, **fixed)


def show_latency(names: list[str], conditions: Conditions, console: Console, *, as_json: bool) -> None:
    """Measures the networks in turns and prints each one's time, throughput and speed relative to the first."""
    machine = fingerprint(conditions)  # says that a device is missing before anything is built
    networks = {name: network_of(name, image_size=conditions.image_size) for name in dict.fromkeys(names)}
    with Console(stderr=True).status(f"measuring {', '.join(networks)}"):
        found = measure(networks, conditions)
    if as_json:
        results = [_record(latency) for latency in found]
        print(json.dumps({"conditions": conditions.model_dump(), "fingerprint": machine, "results": results}))
        return
    console.print(_rendered(found), highlight=False)
    console.print(f"speed: throughput over {found[0].name}'s, round by round; {_caption(conditions, machine)}", highlight=False)


def _record(latency: Latency) -> dict:
    return {**latency._asdict(), "batch_ms": latency.batch_ms._asdict(), "speed": latency.speed._asdict()}


def _rendered(found: list[Latency]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "ms a batch", "quartiles", "images/s", "speed", "quartiles"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, ms, images, speed in found:
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
    mode = "compiled" if conditions.compile else "eager"
    layout = "channels_last" if conditions.channels_last else "contiguous"
    size = f"batch {conditions.batch}, {conditions.image_size} px, {conditions.dtype}, {layout}, {mode}"
    turns = f"median of {conditions.repeats} rounds in turns after {conditions.warm_up} for warm-up"
    facts = ", ".join(f"{key} {' '.join(v) if isinstance(v, list) else v}" for key, v in machine.items())
    return f"{turns}\n{size}\n{facts}"
