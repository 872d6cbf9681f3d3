"""The command line needs no home and no short TMPDIR: what will not do is left alone."""

import os
import tempfile

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
    monkeypatch.setenv("HOME", "/nowhere")
    assert variables() == ("/nowhere", f"{tmp_path}/matplotlib")
    monkeypatch.setenv("MPLCONFIGDIR", "/mine")
    assert variables() == ("/nowhere", "/mine")


def test_a_home_that_can_be_written_is_used(monkeypatch, variables, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert variables() == (str(tmp_path), None)


def test_a_temporary_folder_whose_path_is_too_long_for_sockets_is_not_used(monkeypatch, tmp_path):
    place = tmp_path / ("x" * 120)
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    monkeypatch.setattr(tempfile, "tempdir", None)
    folders = []
    with pytest.raises(SystemExit):
        run_reporting(lambda: folders.append(tempfile.gettempdir()))
    assert folders == ["/tmp"]


def test_a_temporary_folder_that_will_do_is_used(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    with pytest.raises(SystemExit):
        run_reporting(lambda: None)
    assert os.environ["TMPDIR"] == "/var/tmp"
