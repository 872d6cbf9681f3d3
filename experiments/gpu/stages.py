"""What check.py carries out, in this order: each stage a function of the setting and a scratch folder, with a time limit.

It returns plain values; `holds` among them says whether the stage's rule is kept.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from agreement import arithmetic, broken, facts, forward, nccl, resume
from memory import memory, neighbours, together
from setting import Setting
from speed import compiled, feeding, graphs, latency, loading, riformer, shared_card


class Check(NamedTuple):
    """A stage."""

    run: Callable[[Setting, Path], dict[str, Any]]
    seconds: float
    """It may take, beside the start of its process."""


LIMITS: dict[Callable[[Setting, Path], dict[str, Any]], float] = {
    facts: 10,
    forward: 25,
    arithmetic: 30,
    resume: 20,
    memory: 30,
    together: 40,
    neighbours: 30,
    broken: 20,
    nccl: 40,
    latency: 30,
    riformer: 20,
    feeding: 45,
    shared_card: 60,
    loading: 60,
    graphs: 20,
    compiled: 90,
}
STAGES = {run.__name__: Check(run, seconds) for run, seconds in LIMITS.items()}
