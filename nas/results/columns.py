"""The columns of a table of trials, and what each cost is called where a reader sees it."""

COLUMNS = [
    "trial", "state", "baseline", "accuracy", "accuracy_sd", "replicates", "macs", "params", "frozen_params",
    "activation_bytes", "latency_ms", "epochs", "seconds", "repeated", "attempts",
    "cause", "why", "predicted", "spread", "expected_gain", "parents", "changes",
    "start", "answered_from", "key", "seed", "manifest", "curve", "architecture",
]  # fmt: skip
COST_LABELS = {
    "macs": "MACs",
    "params": "parameters",
    "activation_bytes": "activation memory (bytes)",
    "latency_ms": "latency (ms a batch)",
    "seconds": "seconds of training",
}
