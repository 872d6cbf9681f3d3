"""The columns of a table of trials, and what each cost is called where a reader sees it."""

from nas.run.settings import Search
from nas.space.costs import COUNTED, cost_kind, ends_of, is_cost, measured_as

COLUMNS = [
    "trial", "state", "baseline", "accuracy", "expected", "balanced_accuracy", "accuracy_sd", "replicates", "macs", "params",
    *(name for name in COUNTED if name not in ("macs", "params")),
    "latency_ms", "accuracy_int8", "latency_int8_ms", "epochs", "seconds", "repeated", "attempts",
    "cause", "proposed_by", "predicted", "predicted_sd", "expected_gain", "belief", "parents", "changes",
    "start", "answered_from", "source", "key", "seed", "manifest", "curve", "architecture",
]  # fmt: skip


def axis_label(column: str) -> str:
    """What the axis of a cost is called, the unit included; any other column's own name."""
    return cost_kind(column).label if is_cost(column) else column


def device_columns(search: Search) -> list[str]:
    """What a table of trials holds of each device: what is foretold, the ends of its interval, what was measured."""
    return [column for name in search.foretold for column in (name, *ends_of(name), measured_as(name))]
