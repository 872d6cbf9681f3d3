"""The columns of a table of trials, and what each cost is called where a reader sees it."""

from nas.space.costs import COSTS, Cost

COLUMNS = [
    "trial", "state", "baseline", "accuracy", "expected", "balanced_accuracy", "accuracy_sd", "replicates", "macs", "params",
    *(name for name in Cost._fields if name not in ("macs", "params")),
    "latency_ms", "epochs", "seconds", "repeated", "attempts",
    "cause", "why", "predicted", "spread", "expected_gain", "parents", "changes",
    "start", "answered_from", "key", "seed", "manifest", "curve", "architecture",
]  # fmt: skip


def axis_label(column: str) -> str:
    """What the axis of a cost is called, the unit included; any other column's own name."""
    return COSTS[column].label if column in COSTS else column
