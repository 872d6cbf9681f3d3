"""A cache file is made once, by one process, whole or not at all; what changed since is noticed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nas.data.cache import Scratch, cache_folder, cached, check_room, discard_damaged
from nas.errors import NasError
from nas.files import replacing

SHAPE = (5, 2, 2, 3)
PIXELS = np.arange(60, dtype=np.uint8).reshape(SHAPE)

BUILDER = """
import sys, time
from pathlib import Path
from nas.data.cache import cached

def make():
    with open(sys.argv[2], "a") as log:
        log.write("built ")
    yield bytes(range(30))
    time.sleep(float(sys.argv[3]))
    yield bytes(range(30, 60))

print(cached(Path(sys.argv[1]), (5, 2, 2, 3), make).sum())
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "pixels.npy"


def build(path):
    return cached(path, SHAPE, lambda: iter([PIXELS.tobytes()]))


def never():
    pytest.fail("made again")


def builder(path, log, *, seconds):
    command = [sys.executable, "-c", BUILDER, str(path), str(log), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


def rewrite(path, content, *, same_time):
    """Other bytes in the file, seen (`same_time` false) or as a failing disk would leave them."""
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns if same_time else stat.st_mtime_ns + 1))


def test_pixels_are_made_once_and_memory_mapped_from_then_on(path):
    build(path)
    again = cached(path, SHAPE, never)
    assert isinstance(again, np.memmap)
    assert (again == PIXELS).all()


@pytest.mark.parametrize("same_time", [True, False])
def test_a_file_that_was_cut_short_is_made_again(path, same_time):
    build(path)
    rewrite(path, path.read_bytes()[:-10], same_time=same_time)
    assert (build(path) == PIXELS).all()


def test_flipped_bytes_are_noticed_by_the_next_opening_where_the_file_was_written_to(path):
    build(path)
    rewrite(path, path.read_bytes()[:-1] + b"\0", same_time=False)
    assert (build(path) == PIXELS).all()


def test_flipped_bytes_are_noticed_by_a_full_check_where_no_time_tells_of_them(path):
    build(path)
    rewrite(path, path.read_bytes()[:-1] + b"\0", same_time=True)
    discard_damaged(path)
    assert (build(path) == PIXELS).all()


def test_a_whole_file_passes_the_full_check(path):
    build(path)
    discard_damaged(path)
    cached(path, SHAPE, never)


def test_a_copy_with_another_time_is_read_once_and_sealed_anew(path):
    build(path)
    os.utime(path, ns=(1, 1))
    cached(path, SHAPE, never)
    assert json.loads(path.with_suffix(".json").read_text())["mtime_ns"] == 1


@pytest.mark.parametrize("seal", [None, "", "{}", '{"size": "much"}'])
def test_pixels_without_a_seal_are_made_again(path, seal):
    build(path)
    path.write_bytes(b"who knows")
    path.with_suffix(".json").unlink() if seal is None else path.with_suffix(".json").write_text(seal)
    assert (build(path) == PIXELS).all()


def test_another_shape_is_made_anew(path):
    build(path)
    assert cached(path, (1, 2, 2, 3), lambda: [bytes(12)]).shape == (1, 2, 2, 3)


def test_of_two_processes_one_builds_and_the_other_waits_for_it(path, tmp_path):
    both = [builder(path, tmp_path / "log", seconds=1.5) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == ["1770", "1770"]  # 0 + 1 + ... + 59
    assert (tmp_path / "log").read_text() == "built "


def test_a_builder_that_was_killed_is_replaced_and_its_leavings_are_removed(path, tmp_path):
    process = builder(path, tmp_path / "log", seconds=60)
    while not (tmp_path / "log").exists() and process.poll() is None:
        pass
    process.kill()
    process.communicate()
    assert list(path.parent.glob(f".pixels.npy.{process.pid}"))
    assert (build(path) == PIXELS).all()
    assert sorted(p.name for p in path.parent.iterdir()) == [".pixels.npy.lock", "pixels.json", "pixels.npy"]


def test_a_disk_that_fills_while_the_file_is_made_leaves_nothing_behind(path):
    def filling():
        yield bytes(12)
        raise OSError(28, "No space left on device")

    with pytest.raises(NasError, match=r"pixels\.npy: must be writable, but: No space left on device"):
        cached(path, SHAPE, filling)
    assert [p.name for p in path.parent.iterdir()] == [".pixels.npy.lock"]
    assert (build(path) == PIXELS).all()


def test_the_cache_lies_where_the_user_says(monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("NAS_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "metaformer-nas"


def test_a_cache_that_cannot_be_written_names_the_variable_that_moves_it(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file" / "cache"))
    ways = [lambda: check_room(1), lambda: Scratch(8), lambda: build(cache_folder() / "pixels.npy")]
    for way in ways:
        with pytest.raises(NasError, match=r"must be writable, but: .*choose another folder with NAS_CACHE\."):
            way()


@pytest.mark.parametrize("home", [None, ""])
def test_a_user_without_a_home_is_told_of_the_variable(monkeypatch, home):
    def unknown(*_):
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.delenv("NAS_CACHE")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)
    if home is not None:
        monkeypatch.setenv("NAS_CACHE", home)
    with pytest.raises(NasError, match=r"must lie in a user's home, but this machine knows of none\. Set NAS_CACHE"):
        cache_folder()


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(NasError, match="No space left"), replacing(path) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems make no holes in files")
def test_images_that_moved_to_another_file_take_no_room_any_more():
    images = [bytes([i]) * 3 * 64**2 for i in range(200)]
    with Scratch(64) as scratch:
        for image in images:
            scratch.add(image)
        scratch._file.flush()
        before = os.fstat(scratch._file.fileno()).st_blocks
        if scratch.moving_room is None:
            pytest.skip("this disk makes no holes in files")
        order = list(range(0, 200, 2))
        assert b"".join(scratch.rows(order)) == b"".join(images[i] for i in order)
        assert os.fstat(scratch._file.fileno()).st_blocks <= 0.55 * before
        rest = list(range(199, 0, -2))
        assert b"".join(scratch.rows(rest)) == b"".join(images[i] for i in rest)
        assert scratch.room(10) < 2 * 10 * 3 * 64**2
