import pytest

from nas.space.mixers import MIXERS, VERSIONS
from nas.space.plugins.plugin import PLUGINS


@pytest.fixture(autouse=True)
def own_table():
    """What a test's plugins add to the tables is gone when it ends."""
    before = [(table, dict(table)) for table in (MIXERS, VERSIONS, PLUGINS)]
    yield
    for table, rows in before:
        table.clear()
        table.update(rows)
