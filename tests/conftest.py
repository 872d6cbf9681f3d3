import uuid
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from nas.run.settings.search import Search, read_search

settings.register_profile("any speed", deadline=None)  # a busy machine is no failure
settings.load_profile("any speed")

# The first backward pass starts a thread for each device that torch knows; after a torch.export it believes in one more, and
# then no process that a test forks could go backward. So the first is here.
torch.ones(1, requires_grad=True).backward()

TINY = Path(__file__).parents[1] / "search_spaces" / "tiny.yaml"


@pytest.fixture(autouse=True, scope="session")
def cache_of_this_session(tmp_path_factory):
    """Decoded images of the tests stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("NAS_CACHE", str(folder))
        yield folder


@pytest.fixture(autouse=True, scope="module")
def results_of_this_module(cache_of_this_session):
    """No run that several tests look at is answered from what another one trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_RESULTS", str(cache_of_this_session / "results" / uuid.uuid4().hex))
        yield


@pytest.fixture(autouse=True)
def results_of_this_test(cache_of_this_session, monkeypatch):
    """No test is answered from what another one trained."""
    monkeypatch.setenv("NAS_RESULTS", str(cache_of_this_session / "results" / uuid.uuid4().hex))


@pytest.fixture(autouse=True, scope="session")
def lock_of_this_session(tmp_path_factory):
    """Tests do not wait for what is measured on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nas.devices.measure.LOCK_FILE", tmp_path_factory.mktemp("lock") / "lock")
        yield


@pytest.fixture
def tiny():
    """The tiny search with settings laid over it."""

    def read(*settings: str) -> Search:
        return read_search(TINY, settings=list(settings))

    return read
