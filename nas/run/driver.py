"""Who drives a run: one process at a time, known by name, replaced when it is dead.

Each driver is a trial of its own in a study beside the search's, NAME.drivers: trials have numbers that every storage of
Optuna's hands out once, and one that another process has ended can never be written to again. So of two drivers that start at
once the lower number stays, and a driver that slept through its replacement finds itself ended at its next heartbeat.
No clock is compared with another machine's: a driver is dead when its heartbeat stands still for as long as the onlooker waits.
"""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from optuna.exceptions import DuplicatedStudyError, StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.exc import SQLAlchemyError

from nas.errors import NasError
from nas.run.reading import DRIVING
from nas.run.record_files import HeldRecord
from nas.units import duration

BEAT_SECONDS = 3.0
DEAD_SECONDS = 30.0  # without a heartbeat
LOOK_SECONDS = 0.5


class Driver:
    """This process as the driver of a run, from `driving` to the end of its block."""

    def __init__(self, storage: BaseStorage, study: int, *, held: HeldRecord | None = None):
        self._storage, self._study, self._held = storage, study, held
        self._began = self._beaten = time.monotonic()
        self._stop, self._replaced = threading.Event(), False
        self._id = storage.create_new_trial(study)
        self.number = storage.get_trial_number_from_id(self._id)
        for name, value in {**_this_process(), "since": datetime.now(UTC).isoformat(timespec="seconds")}.items():
            storage.set_trial_user_attr(self._id, name, value)
        self._thread = threading.Thread(target=self._beat_on, name="heartbeat", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """NasError if another driver took over, or the record's file is gone; to be called before the record is written."""
        if self._held is not None:
            self._held.check()
        if time.monotonic() - self._beaten > 2 * BEAT_SECONDS:  # this process slept, or its storage did
            self._beat()
        if self._replaced:
            raise NasError(
                f"this driver stood still for too long, and another took over: {self._successor()}. What was recorded is safe; "
                "this one stops."
            )

    def hours_of_all(self) -> float:
        """Time that this driver and all before it have driven the run."""
        return sum(t.user_attrs.get("beat", 0.0) for t in self._all()) / 3600

    def end(self, state: OptunaState) -> None:
        """Give the run up."""
        self._stop.set()
        self._thread.join()
        self._beat()
        if not self._replaced:
            self._storage.set_trial_state_values(self._id, state)

    def wait_for_the_run(self, *, on_wait: Callable[[str], None]) -> None:
        """Return when every earlier driver is dead; NasError, by name, for one that lives."""
        for other in [t for t in self._all() if t.number < self.number and t.state == OptunaState.RUNNING]:
            if not self._is_dead(other, on_wait=on_wait):
                raise NasError(
                    f"another search is running there: {_named(other)}. Wait for it, stop it, or choose another --out."
                )
            with contextlib.suppress(UpdateFinishedTrialError):  # another one that starts now has said so
                self._storage.set_trial_state_values(other._trial_id, OptunaState.FAIL)

    def _is_dead(self, other: FrozenTrial, *, on_wait: Callable[[str], None]) -> bool:
        if _is_gone(other.user_attrs):
            return True
        beat, until = other.user_attrs.get("beat"), time.monotonic() + DEAD_SECONDS
        speak_at: float | None = time.monotonic() + 2 * BEAT_SECONDS
        while time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
            seen = self._storage.get_trial(other._trial_id)
            if seen.state != OptunaState.RUNNING:
                return True
            if seen.user_attrs.get("beat") != beat:
                return False
            if speak_at and time.monotonic() > speak_at:
                speak_at = None
                on_wait(
                    f"another driver, {_named(other)}, shows no sign of life; "
                    f"taking over in {duration(until - time.monotonic())}"
                )
        return True

    def _beat_on(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            self._beat()
            if self._held is not None:
                with contextlib.suppress(NasError):  # it is saved at once; the driver's next step says so
                    self._held.check()

    def _beat(self) -> None:
        if self._replaced:
            return
        try:
            self._storage.set_trial_user_attr(self._id, "beat", round(time.monotonic() - self._began, 2))
            self._beaten = time.monotonic()
        except UpdateFinishedTrialError:
            self._replaced = True
        except (
            StorageInternalError,
            SQLAlchemyError,
            OSError,
        ):  # the record's next write says so; the next heartbeat may arrive
            return

    def _successor(self) -> str:
        later = [t for t in self._all() if t.number > self.number]
        return _named(later[-1]) if later else "one that is gone by now"

    def _all(self) -> list[FrozenTrial]:
        return self._storage.get_all_trials(self._study, deepcopy=False)


@contextmanager
def driving(
    storage: BaseStorage, name: str, *, on_wait: Callable[[str], None], held: HeldRecord | None = None
) -> Iterator[Driver]:
    """Makes this process the driver of the run called `name`; NasError where another one is alive."""
    driver = Driver(storage, _drivers_study(storage, f"{name}{DRIVING}"), held=held)
    state = OptunaState.FAIL
    try:
        driver.wait_for_the_run(on_wait=on_wait)
        state = OptunaState.COMPLETE
        yield driver
    finally:
        driver.end(state)


def _drivers_study(storage: BaseStorage, name: str) -> int:
    try:
        return storage.create_new_study([StudyDirection.MAXIMIZE], name)
    except DuplicatedStudyError:
        return storage.get_study_id_from_name(name)


def _this_process() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "place": _place()}


def _place() -> str:
    """What tells processes apart that share a host's name: its boot, and the container that numbers them."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    parts = [boot.read_text().strip(), os.readlink(namespace)] if boot.exists() and namespace.exists() else []  # Linux
    return " ".join([socket.gethostname(), *parts])


def _is_gone(facts: dict[str, Any]) -> bool:
    """Whether a driver ran on this machine and its process is no more."""
    return facts.get("place") == _place() and _born(facts["pid"]) != facts["born"]


def _born(pid: int) -> str | None:
    """When a process of this machine began, in ticks since its boot, which no change of the clock moves; None if it is gone."""
    if not Path("/proc/self/stat").exists():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            return "at an unknown time"
        return None
    try:
        state, *numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else numbers[18]


def _named(trial: FrozenTrial) -> str:
    facts = trial.user_attrs
    return f"process {facts.get('pid', '?')} on {facts.get('host', '?')}, since {facts.get('since', 'just now')}"
