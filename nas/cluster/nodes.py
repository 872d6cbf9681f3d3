"""The nodes of a cluster before the first trial: whether each sees the run's folder, and the images that each must decode."""

import os
import platform
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console

from nas.cluster.quiet import ray
from nas.errors import NasError, few, in_one_line
from nas.run.cache import computing
from nas.run.folder import versions
from nas.units import duration

NODES_LOOK_SECONDS = 120  # for the nodes to unpack the code and look
NODE_TICK_SECONDS = 1.0  # between two reports of a node that decodes

Node = dict[str, Any]
"""As Ray describes it."""
Versions = dict[str, str | None]
"""By what they are of."""
Prepare = Callable[..., None]
"""What a node needs done once before its first trial; its `on_decoded` hears how far that is."""


def alive_nodes() -> list[Node]:
    """The nodes of the started Ray that have anything to compute with."""
    return [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]


def check_nodes(path: Path) -> None:
    """NasError, by name, for every node of the started cluster that doesn't see the file `path`, or on which results would
    depend on other versions than here."""
    check_folder_is_shared(path)
    check_versions()


def check_folder_is_shared(path: Path) -> None:
    """NasError, by name, for every node of the started cluster that doesn't see the file `path`."""
    looks = {host_of(node): _on(node, os.path.exists, str(path.resolve())) for node in alive_nodes()}
    seen = dict(zip(looks, ray.get(list(looks.values()), timeout=NODES_LOOK_SECONDS), strict=True))
    blind = sorted(host for host, there in seen.items() if not there)
    if blind:
        raise NasError(
            f"{path.parent}: must lie on storage that all nodes of the cluster share, but {', '.join(blind)} cannot see it. "
            "Give a shared folder with --out."
        )


def check_versions() -> None:
    """NasError where a node of the started cluster has other versions than this process of what results depend on."""
    looks = {host_of(node): _on(node, _own_versions) for node in alive_nodes()}
    there = dict(zip(looks, ray.get(list(looks.values()), timeout=NODES_LOOK_SECONDS), strict=True))
    if others := other_versions(_own_versions(), there):
        raise NasError(
            "resources.address: all nodes must have the versions of this machine, because results depend on them, but "
            f"{few(others, most=4)}. Install the same on all, or leave the others out of the cluster."
        )


def other_versions(here: Versions, there: dict[str, Versions]) -> list[str]:
    """In words, what each host has in other versions."""
    return [
        f"{host} has {name} {version}, and here is {here[name]}"
        for host, installed in sorted(there.items())
        for name, version in installed.items()
        if version != here[name]
    ]


def _own_versions() -> Versions:
    return {"Python": ".".join(platform.python_version_tuple()[:2]), **computing(versions())}


def prepare_nodes(prepare: Prepare, *, console: Console) -> frozenset[str]:
    """Does it on all nodes of the started cluster side by side; the numbers of those that can't, which are named.

    NasError where no other is left.
    """
    nodes = {node["NodeID"]: node for node in alive_nodes()}
    heard: Any = ray.remote(_Heard).options(num_cpus=0).remote()
    running = {_on(node, _prepared, prepare, host_of(node), heard): number for number, node in nodes.items()}
    troubles: dict[str, str] = {}
    with console.status("") if console.is_terminal else nullcontext() as status:
        began, is_said = time.monotonic(), False
        while running:
            ready, _ = ray.wait(list(running), timeout=NODE_TICK_SECONDS)
            for reference in ready:
                number = running.pop(reference)
                if cause := _cause(reference):
                    troubles[number] = cause
            progress = ray.get(heard.progress.remote())
            if progress and not is_said:
                names = few(sorted(map(host_of, nodes.values())), most=4)
                console.print(f"decoding the images on {names}, side by side, before the first trial", soft_wrap=True)
                is_said = True
            if status is not None:
                status.update(shares_in_words(progress, seconds=time.monotonic() - began))
    if is_said:
        console.print(f"decoded in {duration(time.monotonic() - began)}")
    _say_left_out(nodes, troubles, console)
    return frozenset(troubles)


def shares_in_words(progress: dict[str, tuple[int, int]], *, seconds: float) -> str:
    """How far each node is with so many of so many images, and how long the slowest will take."""
    shares = {host: done / total for host, (done, total) in sorted(progress.items()) if total}
    words = [f"{host} {share:.0%}" for host, share in shares.items()]
    slowest = min(shares.values(), default=0.0)
    return " · ".join([*words, *([f"ETA {duration(seconds / slowest - seconds)}"] if slowest else [])])


def _say_left_out(nodes: dict[str, Node], troubles: dict[str, str], console: Console) -> None:
    causes = sorted((host_of(nodes[number]), cause) for number, cause in troubles.items())
    if causes and len(troubles) == len(nodes):
        raise NasError(f"no node of the cluster can train, such as {causes[0][0]}: {causes[0][1]}")
    for host, cause in causes:
        console.print(f"mind: {host} is left out: {cause}", soft_wrap=True)


class _Heard:
    """How far each node is: an actor that they tell."""

    def __init__(self) -> None:
        self._progress: dict[str, tuple[int, int]] = {}

    def note(self, host: str, done: int, total: int) -> None:
        """A node has so many images of so many."""
        self._progress[host] = done, total

    def progress(self) -> dict[str, tuple[int, int]]:
        """The last that each said; nothing of those that had nothing to do."""
        return self._progress


def _prepared(prepare: Prepare, host: str, heard: Any) -> None:
    """The preparation on a node, which tells how far it is."""
    last = time.monotonic()

    def on_decoded(done: int, total: int, unit: str) -> None:
        nonlocal last
        if unit == "images" and time.monotonic() - last > NODE_TICK_SECONDS:
            last = time.monotonic()
            heard.note.remote(host, done, total)

    prepare(on_decoded=on_decoded)


def _cause(reference: Any) -> str | None:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return in_one_line(error.cause, most=300)
    except ray.exceptions.RayError as error:
        return in_one_line(error, most=300)
    return None


def _on(node: Node, work: Callable[..., Any], *arguments: Any) -> Any:
    """The reference to what `work` gives on a node."""
    return ray.remote(work).options(num_cpus=0, scheduling_strategy=_there(node), max_retries=0).remote(*arguments)


def _there(node: Node) -> Any:
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)


def host_of(node: Node) -> str:
    """The name of the machine that a node is."""
    return str(node["NodeManagerHostname"])
