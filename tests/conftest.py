from pathlib import Path

import pytest
from hypothesis import settings

from nas.run.settings import Search, read_search

settings.register_profile("any speed", deadline=None)  # a busy machine is no failure
settings.load_profile("any speed")

TINY = Path(__file__).parents[1] / "search_spaces" / "tiny.yaml"


@pytest.fixture(autouse=True, scope="session")
def cache_of_this_session(tmp_path_factory):
    """Decoded images of the tests stay out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


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
