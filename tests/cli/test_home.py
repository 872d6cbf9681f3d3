"""The command line needs no home: one that is unknown or read-only is left alone."""

import os

import pytest

from nas.cli import app
from nas.cli.app import run_reporting


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """Runs a command that reads these variables, with the home that cannot be written; what it saw of them."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path))
    for name in ("MPLCONFIGDIR", "HOME"):
        monkeypatch.setenv(name, "")  # so that they are put back
        monkeypatch.delenv(name)

    def seen() -> tuple[str | None, str | None]:
        places = []
        with pytest.raises(SystemExit):
            run_reporting(lambda: places.append((os.environ.get("HOME"), os.environ.get("MPLCONFIGDIR"))))
        return places[0]

    return seen


def test_a_user_without_a_name_gets_a_home_that_is_none(monkeypatch, variables, tmp_path):
    monkeypatch.setattr(app.os.path, "expanduser", lambda path: path)
    assert variables() == ("/nonexistent", f"{tmp_path}/matplotlib")


def test_matplotlib_writes_into_the_cache_where_the_home_is_read_only(monkeypatch, variables, tmp_path):
    monkeypatch.setenv("HOME", "/proc")
    assert variables() == ("/proc", f"{tmp_path}/matplotlib")
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    assert variables() == ("/proc", "/mine")


def test_a_home_that_can_be_written_is_used(monkeypatch, variables, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert variables() == (str(tmp_path), None)
