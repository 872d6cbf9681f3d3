import errno
import fcntl
import os
import subprocess
import sys

import pytest
from filelock import Timeout

from nas.errors import NasError
from nas.files import KernelLock, replacing, write_whole


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_whole(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_one_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NasError, match=r"file/a\.txt: must be writable"):
        write_whole(tmp_path / "file" / "a.txt", "text")


# Locks


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    with KernelLock(tmp_path / "lock"), pytest.raises(Timeout):
        KernelLock(tmp_path / "lock").acquire(seconds=0)
    assert KernelLock(tmp_path / "lock").acquire(seconds=0)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_disk_without_locks_is_one_message_with_the_file(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(NasError, match=r"lock: must be writable, but: .*\. Choose a folder on a disk that has room and locks"):
        KernelLock(tmp_path / "lock").acquire()


NO_FLOCK = """
import errno, fcntl
def refuse(*_):
    raise OSError(errno.ENOSYS, "Function not implemented")
fcntl.flock = refuse
from filelock import Timeout
from nas.files import KernelLock
with KernelLock("lock"):
    try:
        KernelLock("lock").acquire(seconds=0)
    except Timeout:
        print("held")
"""


def test_where_a_disk_has_no_locks_at_all_a_file_stands_for_one_without_a_word(tmp_path):
    ended = subprocess.run([sys.executable, "-c", NO_FLOCK], cwd=tmp_path, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("held\n", "")
