"""Ray as everybody here imports it: after the variables that keep it quiet and its workers small, which it reads then."""

import os

FOR_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_WARN_THRESHOLD_S": "3600",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",  # in a job that was submitted with variables of its own
    "MALLOC_ARENA_MAX": "1",  # glibc: else each trial, a thread of its own, may hold what others freed a second time
}
for _name, _value in FOR_RAY.items():
    os.environ.setdefault(_name, _value)

import ray as ray  # noqa: E402
