"""Networks of a run, or exported ones, in int8: what that costs in accuracy, what it gains in time, what stays in float."""
