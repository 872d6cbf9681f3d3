from pathlib import Path

import pytest

from nas.search.settings import Search, read_search

TINY = Path(__file__).parents[1] / "search_spaces" / "tiny.yaml"


@pytest.fixture
def tiny():
    """The tiny search with settings laid over it."""

    def read(*settings: str) -> Search:
        return read_search(TINY, settings=list(settings))

    return read
