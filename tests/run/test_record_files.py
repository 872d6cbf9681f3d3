"""A journal holds whole lines only, its lock dies with its holder; a record that disappears while in use is saved beside."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import JournalStorage

from nas.errors import NasError
from nas.run import driver as driver_module
from nas.run.driver import driving
from nas.run.folder import open_folder, restored_folder
from nas.run.reading import read
from nas.run.record_files import HeldRecord, WholeLines, is_journal
from nas.run.storage import check_storage, open_storage, watched
from nas.search.study import Study
from tests.studies import finish_next


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run.journal")


def study(path: str) -> optuna.Study:
    return optuna.create_study(storage=JournalStorage(WholeLines(path)), study_name="s", load_if_exists=True)


def test_a_line_that_a_kill_cut_short_is_taken_back_and_the_rest_stays(path):
    study(path).enqueue_trial({"x": 1})
    with open(path, "a") as file:
        file.write('{"op_code": 4, "worker_i')
    again = study(path)
    again.enqueue_trial({"x": 2})
    assert [t.system_attrs["fixed_params"] for t in study(path).trials] == [{"x": 1}, {"x": 2}]


def test_a_killed_holder_of_the_lock_holds_nobody_up(path):
    study(path)
    code = f"from nas.files import KernelLock; KernelLock({path + '.lock'!r}).acquire(); print('held', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    began = time.monotonic()
    study(path).enqueue_trial({"x": 1})
    assert time.monotonic() - began < 5


# A record that disappears while in use


def removed(path):
    path.unlink()


def replaced(path):
    older = path.with_name("older")
    shutil.copy(path, older)
    os.replace(older, path)


def replaced_by_a_folder(path):
    path.unlink()
    path.mkdir()


def gone_with_its_folder(path):
    shutil.rmtree(path.parent)


def gone_and_made_again(path):
    """By a worker that wrote a checkpoint."""
    shutil.rmtree(path.parent)
    (path.parent / "checkpoints").mkdir(parents=True)


@pytest.fixture
def watch():
    """Watches a record until the test's end."""
    with ExitStack() as stack:
        yield lambda search, folder, before: stack.enter_context(watched(search, folder, before_saving=before))


@pytest.fixture
def run(tiny, tmp_path, watch):
    """A search of six trials that is open, as a study, a folder and its watched record."""

    def opened(kind="sqlite"):
        url = [f"search.storage=journal://{tmp_path}/elsewhere/run.journal"] if kind == "journal" else []
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        search = tiny("search.trials=6", *url)
        folder = open_folder(tmp_path / "run", search)
        storage = open_storage(search, folder, create=True)
        held = watch(search, folder, lambda: restored_folder(folder.root, search))  # first, as in a search
        study = Study(search, folder, manifest_hash="feed", storage=storage)
        return study, folder, held

    return opened


@pytest.mark.parametrize("lose", [removed, replaced, gone_with_its_folder])
def test_a_record_that_was_watched_before_anything_was_written_is_saved_as_well(tiny, tmp_path, watch, lose):
    search = tiny("search.trials=6")
    folder = open_folder(tmp_path / "run", search)
    storage = open_storage(search, folder, create=True)
    held = watch(search, folder, lambda: open_folder(folder.root, search))
    study = Study(search, folder, manifest_hash="feed", storage=storage)
    for _ in range(3):
        finish_next(study)
    lose(held.path)
    with pytest.raises(NasError, match="What it held is saved in"):
        held.check()


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["sqlite", "journal"])
@pytest.mark.parametrize("lose", [removed, replaced, replaced_by_a_folder, gone_with_its_folder, gone_and_made_again])
def test_what_a_lost_record_held_is_saved_and_goes_on_as_the_message_says(run, kind, lose):
    study, folder, held = run(kind)
    finish_next(study)
    held.check()
    lose(held.path)
    if kind == "sqlite":
        finish_next(study)  # into a file that has no name any more
    with pytest.raises(NasError) as caught:
        held.check()
    text = str(caught.value)
    assert str(held.path) in text and ("was removed" in text or "was replaced" in text)
    back = text.partition("the same command continues: ")[2]
    study.close()
    subprocess.run(back, shell=True, check=True)
    assert len(read(folder.root).trials) == (2 if kind == "sqlite" else 1)


def test_it_is_saved_once_however_often_it_is_looked_at(run):
    study, folder, held = run()
    finish_next(study)
    folder.study_db.unlink()
    for _ in range(3):
        with pytest.raises(NasError, match="was removed"):
            held.check()
    assert len(list(folder.root.glob("study-saved-*.db"))) == 1


def test_threads_that_look_at_once_save_it_once(run):
    study, folder, _ = run()
    finish_next(study)
    savings, causes = [], []

    def slow():
        savings.append(threading.get_ident())
        time.sleep(0.2)

    def look():
        with pytest.raises(NasError) as caught:
            held.check()
        causes.append(str(caught.value))

    held = HeldRecord(folder.study_db, is_database=True, before_saving=slow)
    folder.study_db.unlink()
    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(savings) == 1 and len(causes) == 4 and len(set(causes)) == 1
    assert "What it held is saved in" in causes[0]


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT])
def test_a_file_system_that_does_not_answer_is_no_removal(run, monkeypatch, number):
    _, folder, held = run()

    def fails(path, **_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr("nas.run.record_files.os.stat", fails)
        held.check()
    held.check()
    assert not list(folder.root.glob("study-saved-*.db"))


def test_a_heartbeat_saves_it_while_the_driver_waits(run, monkeypatch):
    monkeypatch.setattr(driver_module, "BEAT_SECONDS", 0.05)
    study, folder, held = run()
    with driving(study._storage, "x", on_wait=print, held=held) as driver:
        folder.study_db.unlink()
        until = time.monotonic() + 5
        while not list(folder.root.glob("study-saved-*.db")) and time.monotonic() < until:
            time.sleep(0.05)
        with pytest.raises(NasError, match="was removed"):
            driver.check()
    assert len(list(folder.root.glob("study-saved-*.db"))) == 1


def test_watching_a_database_leaves_its_locks_so_that_no_reader_puts_its_log_away(run):
    study, folder, held = run()
    held.close()
    finish_next(study)  # from here on the study's own connection holds a lock
    held = HeldRecord(folder.study_db, is_database=True)
    code = f"import sqlite3; print(sqlite3.connect({str(folder.study_db)!r}).execute('PRAGMA journal_mode=DELETE').fetchone())"
    reader = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "database is locked" in reader.stderr and reader.stdout == ""
    held.close()


@pytest.mark.thorough
def test_a_removed_database_is_not_made_anew_by_the_next_connection(run):
    study, folder, _ = run()
    finish_next(study)
    folder.study_db.unlink()
    study._storage.engine.dispose()
    with pytest.raises(StorageInternalError):
        finish_next(study)
    assert not folder.study_db.exists()


@pytest.mark.parametrize("content", [b"notes\nmore notes", b"[1]\n", b'{"a": 1}\n', b"\x00\xff", b"x"])
def test_a_file_that_is_no_journal_is_left_to_its_last_letter(tiny, tmp_path, content):
    file = tmp_path / "notes.txt"
    file.write_bytes(content)
    with pytest.raises(NasError, match=r"notes\.txt: is damaged, or no journal of Optuna's at all"):
        check_storage(tiny(f"search.storage=journal://{file}"))
    assert file.read_bytes() == content


@pytest.mark.parametrize("content", [b"", b'{"op_code": 0, "worker_id": "a"}\n', b'{"op_code":0,"wor', b'{"op'])
def test_a_journal_that_is_empty_whole_or_cut_in_its_first_line_is_one(tmp_path, content):
    (tmp_path / "run.journal").write_bytes(content)
    assert is_journal(tmp_path / "run.journal")
