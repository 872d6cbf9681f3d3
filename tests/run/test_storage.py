"""Where the record lies: every storage holds the same search, a wrong or damaged one is refused."""

import contextlib
import json
import shutil
import sqlite3

import optuna
import pytest

from nas.errors import ConfigError, NasError
from nas.run.folder import check_folder, open_folder
from nas.run.reading import check_record, read
from nas.run.storage import URL_VARIABLE, check_storage
from nas.search.run import run_search
from nas.search.study import Study
from nas.terminal import Terminal
from tests.studies import finish_all


def test_a_study_of_another_search_in_the_same_storage_is_refused(tiny, tmp_path):
    url = f"search.storage=sqlite:///{tmp_path}/shared.db"
    Study(tiny(url), open_folder(tmp_path / "a", tiny(url)), manifest_hash="feed")
    other = tiny(url, "search.seed=5")
    with pytest.raises(ConfigError, match=r"search\.seed: 0 in the run, now 5"):
        Study(other, open_folder(tmp_path / "b", other), manifest_hash="feed")


def test_other_images_under_the_same_settings_are_refused(opened, tiny, tmp_path):
    opened(tiny())
    with pytest.raises(ConfigError, match="manifest: feed in the run, now beef"):
        Study(tiny(), open_folder(tmp_path / "run", tiny()), manifest_hash="beef")


@pytest.mark.parametrize("damage", [lambda b: b"not a database at all" * 50, lambda b: b[:5000] + b"\0" * 20000 + b[25000:]])
def test_a_damaged_record_is_refused_and_left_as_it_is(opened, tiny, tmp_path, damage):
    study = opened(tiny())
    finish_all(study)
    study.close()
    path = tmp_path / "run" / "study.db"
    broken = damage(path.read_bytes())
    path.write_bytes(broken)
    with pytest.raises(NasError, match=r"study\.db: is damaged"):
        opened(tiny())
    assert path.read_bytes() == broken


def test_a_run_without_a_record_says_so(tiny, tmp_path):
    with pytest.raises(NasError, match=r"holds no study\.db"):
        read(open_folder(tmp_path, tiny()).root)


def test_a_password_that_was_not_written_down_is_asked_for_by_name(tiny, tmp_path):
    folder = open_folder(tmp_path, tiny("search.storage=postgresql://me:secret@host/db"))
    with pytest.raises(NasError, match="Set NAS_STORAGE to the whole URL"):
        read(folder.root)


def test_a_storage_out_of_reach_is_one_message(tiny, tmp_path):
    search = tiny(f"search.storage=sqlite:///{tmp_path}/no/such/folder/study.db")
    with pytest.raises(NasError, match=r"study\.db: cannot be used: unable to open"):
        Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_every_storage_holds_the_same_search(tiny, tmp_path, kind):
    url = [f"search.storage=journal://{tmp_path}/run.journal"] if kind == "journal" else []
    search = tiny("search.trials=6", *url)
    folder = open_folder(tmp_path / "run", search)
    finish_all(Study(search, folder, manifest_hash="feed"))
    again = Study(search, folder, manifest_hash="feed")
    assert not again.has_work and len(read(folder.root).trials) == 6


def test_a_journal_that_is_not_there_is_no_run(tiny, tmp_path):
    search = tiny(f"search.storage=journal://{tmp_path}/none.journal")
    with pytest.raises(NasError, match=r"none\.journal: there is no such journal"):
        read(open_folder(tmp_path / "run", search).root)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", r"search\.storage: must be postgresql\+psycopg2://"),
        ("postgresql://me:secret@host:port/db", r"search\.storage: must be postgresql\+psycopg2://"),
        ("journal:///no/such/folder/x", "the journal's folder must exist"),
        (
            "postgresql+psycopg2://me:secret@127.0.0.1:1/db",
            r"postgresql\+psycopg2://me:\*\*\*@127.0.0.1:1/db: (cannot be used|needs a database driver.*psycopg2-binary)",
        ),
        ("mysql://me:secret@127.0.0.1:1/db", r"mysql://me:\*\*\*@127.0.0.1:1/db: (cannot be used|.*pip install mysqlclient)"),
    ],
)
def test_a_wrong_storage_is_refused_in_seconds_and_no_password_is_shown(tiny, tmp_path, url, message):
    search = tiny(f"search.storage={url}")
    with pytest.raises(NasError, match=message) as refused:
        Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")
    assert "secret" not in str(refused.value)


def test_a_damaged_journal_is_refused_by_name(tiny, tmp_path):
    search, file = tiny(f"search.storage=journal://{tmp_path}/run.journal"), tmp_path / "run.journal"
    Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed").close()
    file.write_bytes(b"not json\n" + file.read_bytes())
    with pytest.raises(NasError, match=r"run\.journal: is damaged"):
        Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")


def test_the_tables_of_another_optuna_are_refused_with_the_way_out(opened, tiny, tmp_path):
    opened(tiny()).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "study.db")) as database, database:
        database.execute("UPDATE version_info SET schema_version = 3, library_version = '1.0.0'")
        database.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    with pytest.raises(NasError, match=r"study\.db: was written by another version of Optuna: .*optuna storage upgrade"):
        opened(tiny())


@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize"]])
def test_a_study_of_somebody_else_is_refused_and_left_as_it_is(tiny, tmp_path, directions):
    url = f"sqlite:///{tmp_path}/theirs.db"
    theirs = optuna.create_study(study_name="tiny", storage=url, directions=directions)
    theirs.optimize(lambda trial: [trial.suggest_float("lr", 0, 1)] * len(directions), n_trials=2)
    search = tiny(f"search.storage={url}")
    with pytest.raises(NasError, match="the study 'tiny' that it holds is not of this search"):
        Study(search, open_folder(tmp_path / "run", search), manifest_hash="feed")
    found = optuna.load_study(study_name="tiny", storage=url)
    assert (len(found.trials), found.user_attrs, found.metric_names) == (2, {}, None)


def test_weights_of_a_search_are_not_given_up_for_another_record(opened, tiny, tmp_path):
    study = opened(tiny())
    study.finish(study.propose().number, accuracy=0.5, seconds=1.0)
    weights = tmp_path / "run" / "weights" / "0.safetensors"
    weights.parent.mkdir()
    weights.write_bytes(b"a night's work")
    opened(tiny())
    with pytest.raises(NasError, match="its record is not in the storage that is to be used"):
        opened(tiny(f"search.storage=sqlite:///{tmp_path}/other.db"))
    assert weights.read_bytes() == b"a night's work"


def test_who_only_reads_makes_no_tables(opened, tiny, tmp_path):
    opened(tiny()).close()
    database = tmp_path / "run" / "study.db"
    database.write_bytes(b"")
    with pytest.raises(NasError, match=r"study\.db: cannot be read: no such table"):
        read(tmp_path / "run")
    assert database.read_bytes() == b""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", ["is it ok?", "feature%2Fmixer", "a#b", "{z}", "100 %", "a:b@c", "é", "x?mode=memory", "a&b=c", "~"]
)
def test_a_run_may_lie_in_a_folder_of_any_name(tiny, tmp_path, name):
    search = tiny("search.trials=2")
    folder = open_folder(tmp_path / name, search)
    study = Study(search, folder, manifest_hash="feed")
    finish_all(study)
    study.close()
    assert folder.study_db.is_file() and [p.name for p in tmp_path.iterdir()] == [name]
    assert len(read(folder.root).trials) == 2
    assert not Study(search, folder, manifest_hash="feed").has_work


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgres://me:secret@host/db", r"Write postgresql\+psycopg2://me:\*\*\*@host/db"),
        ("redis://host:6379", r"must be postgresql\+psycopg2://, .* but got 'redis://host:6379'"),
        ("mongodb://host/db", r"must be postgresql\+psycopg2://"),
        ("oracle://host/db", r"must be postgresql\+psycopg2://"),
        ("https://host/db", r"must be postgresql\+psycopg2://"),
        ("sqlite:////no/such/folder/x.db", "unable to open database file"),
        ("postgresql://me@127.0.0.1:9/db", "cannot be used|needs a database driver"),
        ("journal:///no/such/folder/x.journal", "the journal's folder must exist"),
        ("journal:////", "the journal must be a file"),
        ("sqlite://", r"sqlite:/// or .* but got 'sqlite://'"),  # a record in memory
        ("sqlite+nobodys://x.db", "must be|cannot be used"),
        ("mysql://me@127.0.0.1:9/db", "cannot be used|pip install mysqlclient"),
        ("sqlite+aiosqlite:////tmp/x.db", "cannot be used|pip install aiosqlite"),
    ],
)
def test_a_storage_that_cannot_be_used_is_refused_before_the_run_is_made(tiny, tmp_path, url, message):
    with pytest.raises(NasError, match=message):
        run_search(tiny(f"search.storage={url}"), root=tmp_path / "run", console=Terminal(quiet=True))
    assert not list(tmp_path.iterdir())


# Records that a search must not write into


@pytest.mark.parametrize("content", [b"", b"hello", b"SQLite format 3\0" + bytes(100)])
def test_a_study_db_beside_weights_that_is_no_record_is_left_as_it_is(tiny, tmp_path, content):
    folder = open_folder(tmp_path / "run", tiny())
    folder.weights(0).parent.mkdir()
    folder.weights(0).write_bytes(b"x")
    folder.study_db.write_bytes(content)
    with pytest.raises(NasError):
        check_record(tiny(), folder, manifest_hash="feed")
    assert folder.study_db.read_bytes() == content and len(list(folder.root.iterdir())) == 3


def test_a_record_of_another_search_is_refused_by_its_name(tiny, tmp_path):
    folder = open_folder(tmp_path / "run", tiny())
    Study(tiny(), folder, manifest_hash="feed").close()
    before = folder.study_db.read_bytes()
    with pytest.raises(NasError, match="must be the record of 'other', but is that of tiny"):
        check_record(tiny("name=other"), folder, manifest_hash="feed")
    with pytest.raises(ConfigError, match="manifest: feed in the run, now beef"):
        check_record(tiny(), folder, manifest_hash="beef")
    assert folder.study_db.read_bytes() == before


def test_a_teacher_may_be_moved_and_not_be_another_and_a_record_that_is_older_than_digests_takes_the_one_there_is(
    tiny, tmp_path
):
    def learnt(**teacher):
        return tiny(f"proxy.distillation={json.dumps(teacher)}")

    one, other = "0" * 16, "f" * 16
    folder = open_folder(tmp_path / "run", learnt(teacher="here", digest=one))
    Study(learnt(teacher="here", digest=one), folder, manifest_hash="feed").close()
    check_record(learnt(teacher="there", digest=one), folder, manifest_hash="feed")
    with pytest.raises(ConfigError, match=rf"proxy\.distillation\.digest: {one} in the run, now {other}"):
        check_record(learnt(teacher="here", digest=other), folder, manifest_hash="feed")
    with pytest.raises(ConfigError, match="holds another search"):
        check_record(tiny(), folder, manifest_hash="feed")
    old = open_folder(tmp_path / "old", learnt(teacher="here"))
    Study(learnt(teacher="here"), old, manifest_hash="feed").close()
    for search in (learnt(teacher="here", digest=other), learnt(teacher="here")):
        check_folder(old.root, search)
        check_record(search, old, manifest_hash="feed")
    check_folder(folder.root, learnt(teacher="here"))  # as a calibration of the run does
    with pytest.raises(ConfigError, match=r"proxy\.distillation\.teacher: here in the run, now there"):
        check_folder(old.root, learnt(teacher="there", digest=other))


def test_a_foreign_database_is_not_opened_to_write(tiny, tmp_path):
    path = tmp_path / "bookmarks.db"
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE bookmarks (url TEXT)")
    before = path.read_bytes()
    with pytest.raises(NasError, match="must be a database of studies, but is another program's"):
        check_storage(tiny(f"search.storage=sqlite:///{path}"))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["bookmarks.db"]


@pytest.mark.parametrize(
    "url", ["postgresql:/u:PW@h", "u:PW@h/db", "mssql://h;PWD=PW", "postgresql://u:PW@h:port/d", "http://u:PW@h?api_key=PW"]
)
def test_what_is_no_url_is_refused_without_its_password(tiny, url):
    with pytest.raises(NasError) as caught:
        check_storage(tiny(f"search.storage={url!r}"))
    assert "PW@" not in str(caught.value) and "=PW" not in str(caught.value) and "search.storage" in str(caught.value)


def test_the_whole_url_in_the_environment_is_looked_at_before_a_run_is_begun(tiny, monkeypatch):
    search = tiny("search.storage='postgresql://me:***@host/db'")
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    with pytest.raises(NasError, match=f"search.storage: its password was not written down. Set {URL_VARIABLE}"):
        check_storage(search)
    monkeypatch.setenv(URL_VARIABLE, "postgresql:/me:PW@host")
    with pytest.raises(NasError) as caught:
        check_storage(search)
    assert "PW" not in str(caught.value)


def test_a_copy_of_a_run_that_was_killed_is_read_where_nothing_can_be_written(tiny, tmp_path, monkeypatch):
    study = Study(tiny(), open_folder(tmp_path / "run", tiny()), manifest_hash="feed")
    finish_all(study)
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "run", copy, ignore=shutil.ignore_patterns("*-shm"))
    study.close()
    assert (copy / "study.db-wal").stat().st_size
    monkeypatch.setattr("nas.run.reading.os.access", lambda *_: False)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert len(read(copy).records) == len(read(tmp_path / "run").records)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before
