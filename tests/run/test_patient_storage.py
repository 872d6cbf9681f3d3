"""A storage that is away: waited for, said once, and given up for what waiting can't mend."""

import sqlite3

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from sqlalchemy.exc import OperationalError

from nas.run import patient_storage
from nas.run.patient_storage import PatientStorage


class Flaky(InMemoryStorage):
    """Fails as often as it is told before it does what it is asked."""

    def __init__(self, failures: list[Exception]):
        super().__init__()
        self.failures = failures

    def create_new_trial(self, study_id, template_trial=None):
        if self.failures:
            raise self.failures.pop()
        return super().create_new_trial(study_id, template_trial)


def away(why: str) -> StorageInternalError:
    error = StorageInternalError("commit")
    error.__cause__ = OperationalError("INSERT", {}, sqlite3.OperationalError(why))
    return error


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(patient_storage, "RETRY_PAUSE_SECONDS", (0.001, 0.002))


@pytest.mark.parametrize(
    "failure", [away("database or disk is full"), away("attempt to write a readonly database"), OSError(28, "full")]
)
def test_what_passes_is_waited_for_and_said_once(failure):
    told = []
    storage = PatientStorage(Flaky([failure] * 3), on_wait=told.append)
    study = storage.create_new_study([StudyDirection.MAXIMIZE])
    storage.create_new_trial(study)
    assert storage.get_n_trials(study) == 1
    assert [bool(message) for message in told] == [True, False, False] and "trying again for 10 min" in told[0]


def test_damage_is_not_waited_for():
    storage = PatientStorage(Flaky([away("database disk image is malformed")]), on_wait=pytest.fail)
    with pytest.raises(StorageInternalError):
        storage.create_new_trial(storage.create_new_study([StudyDirection.MAXIMIZE]))


def test_patience_ends(monkeypatch):
    monkeypatch.setattr(patient_storage, "PATIENCE_SECONDS", 0.01)
    storage = PatientStorage(Flaky([OSError(28, "full")] * 1000), on_wait=lambda message: None)
    with pytest.raises(OSError, match="full"):
        storage.create_new_trial(storage.create_new_study([StudyDirection.MAXIMIZE]))


def test_what_the_listener_raises_ends_the_waiting():
    def stop(message: str) -> None:
        raise KeyboardInterrupt

    storage = PatientStorage(Flaky([OSError(28, "full")]), on_wait=stop)
    with pytest.raises(KeyboardInterrupt):
        storage.create_new_trial(storage.create_new_study([StudyDirection.MAXIMIZE]))


def test_every_public_method_of_a_storage_is_passed_on():
    public = {name for name in dir(BaseStorage) if not name.startswith("_")}
    assert all(getattr(PatientStorage, name) is not getattr(BaseStorage, name) for name in public)
