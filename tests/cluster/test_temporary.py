"""Ray's folder is short enough for its sockets, private, and gone at the end, whatever the user's variables say."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from nas.cluster import temporary
from nas.cluster.temporary import INSIDE, LONGEST, MAX_SOCKET_BYTES, short_folder
from nas.errors import NasError


@pytest.fixture(autouse=True)
def no_wish(monkeypatch):
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def place():
    with tempfile.TemporaryDirectory(prefix="p", dir="/tmp") as path:
        yield path


def test_it_is_private_and_gone_at_the_end(monkeypatch, place):
    monkeypatch.setenv("TMPDIR", place)
    with short_folder() as folder:
        around = Path(folder).parent
        assert around.parent == Path(place)
        assert stat.S_IMODE(around.stat().st_mode) == 0o700
        Path(folder, "session").mkdir(parents=True)
    assert os.listdir(place) == []


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("wish", ["/tmp/" + 120 * "x", "/nowhere/at/all", "/proc", ""])
def test_a_place_that_will_not_do_is_passed_over(monkeypatch, variable, wish):
    monkeypatch.setenv(variable, wish)
    with short_folder() as folder:
        assert Path(folder).parents[1] == Path("/tmp")
        assert len(os.fsencode(folder.removesuffix("/r") + INSIDE)) <= MAX_SOCKET_BYTES


def test_a_short_name_of_many_bytes_is_long(monkeypatch, place):
    monkeypatch.setenv("TMPDIR", str(Path(place, "ö" * (LONGEST - len(place) - 1))))
    Path(os.environ["TMPDIR"]).mkdir()
    with short_folder() as folder:
        assert Path(folder).parents[1] == Path("/tmp")


def test_where_none_will_do_the_variable_and_the_limit_are_named(monkeypatch):
    monkeypatch.setattr(temporary, "SHORT_PLACES", ("/nowhere",))
    monkeypatch.setenv("TMPDIR", "/tmp/" + 120 * "x")
    with pytest.raises(
        NasError, match=rf"is longer than {LONGEST} bytes.*; /nowhere: No such file.*\. Set RAY_TMPDIR to a folder"
    ):
        short_folder().__enter__()
