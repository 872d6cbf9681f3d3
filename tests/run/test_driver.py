"""One driver at a time: who is refused, who takes over, and what a sleeper finds when it wakes."""

import subprocess
import sys
import threading
import time

import optuna
import pytest
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import TrialState

from nas.errors import NasError
from nas.run import driver as drivers
from nas.run.driver import Driver, driving


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(drivers, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(drivers, "DEAD_SECONDS", 0.6)
    monkeypatch.setattr(drivers, "LOOK_SECONDS", 0.02)


@pytest.fixture
def storage():
    return InMemoryStorage()


def drive(storage, **given):
    return driving(storage, "search", on_wait=given.get("on_wait", lambda message: None))


def states(storage) -> list[TrialState]:
    return [t.state for t in storage.get_all_trials(storage.get_study_id_from_name("search.drivers"))]


def freeze(driver: Driver) -> None:
    """What SIGSTOP does to a driver: no heartbeat any more."""
    driver._stop.set()
    driver._thread.join()


def test_a_second_driver_is_refused_by_the_name_of_the_first(storage):
    with (
        drive(storage),
        pytest.raises(NasError, match=r"another search is running there: process \d+ on \S+, since 20"),
        drive(storage),
    ):
        pass
    assert states(storage) == [TrialState.COMPLETE, TrialState.FAIL]


def test_a_run_whose_driver_ended_can_be_driven_again(storage):
    for _ in range(2):
        with drive(storage) as driver:
            driver.check()
    assert states(storage) == [TrialState.COMPLETE] * 2


def test_a_driver_without_a_heartbeat_is_replaced_and_finds_that_out_before_it_writes(storage):
    told = []
    with drive(storage) as sleeper:
        freeze(sleeper)
        with drive(storage, on_wait=told.append) as second:
            second.check()
            time.sleep(0.2)
            with pytest.raises(NasError, match="another took over: process"):
                sleeper.check()
    assert states(storage) == [TrialState.FAIL, TrialState.COMPLETE]
    assert len(told) == 1 and "shows no sign of life" in told[0]


def test_of_many_that_start_at_once_one_drives(tmp_path, monkeypatch):
    monkeypatch.setattr(drivers, "DEAD_SECONDS", 30.0)  # a busy machine may keep a heartbeat back
    storage = RDBStorage(f"sqlite:///{tmp_path}/study.db")
    optuna.create_study(storage=storage, study_name="search.drivers")
    driving_at_once, most, ready = [], [], threading.Barrier(4)

    def start() -> None:
        ready.wait()
        try:
            with drive(storage):
                driving_at_once.append(1)
                most.append(len(driving_at_once))
                time.sleep(1.5)
                driving_at_once.pop()
        except NasError:
            pass

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most and max(most) == 1


@pytest.mark.thorough
def test_a_killed_driver_of_this_machine_is_replaced_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(drivers, "DEAD_SECONDS", 60.0)
    code = (
        "import os, signal; from optuna.storages import RDBStorage; from nas.run.driver import driving\n"
        f"with driving(RDBStorage('sqlite:///{tmp_path}/study.db'), 'search', on_wait=print):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    storage, began = RDBStorage(f"sqlite:///{tmp_path}/study.db"), time.monotonic()
    with drive(storage):
        assert time.monotonic() - began < 5
    assert states(storage) == [TrialState.FAIL, TrialState.COMPLETE]


def test_hours_are_those_of_all_drivers(storage):
    with drive(storage):
        time.sleep(0.3)
    with drive(storage) as second:
        assert 0.25 < second.hours_of_all() * 3600 < 5


def test_a_storage_that_is_away_for_a_while_costs_a_driver_nothing(storage, monkeypatch):
    with drive(storage) as driver:
        real = storage.set_trial_user_attr
        monkeypatch.setattr(storage, "set_trial_user_attr", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        time.sleep(0.2)
        driver.check()
        monkeypatch.setattr(storage, "set_trial_user_attr", real)
        driver.check()
    assert states(storage) == [TrialState.COMPLETE]
