"""Results that all runs share: found again by what decides them, whole whoever writes, thrown away when damaged."""

import json
import os
import time
from multiprocessing import get_context

import pytest

from nas.run.cache import ResultCache, kept_files, prune, results_folder, ways_of_training
from nas.run.folder import RunFolder
from nas.space.reference import design
from tests.studies import epoch

POOL, ATTENTION = design("poolformer_s12"), design("caformer_s18")


@pytest.fixture
def opened_cache(tiny, tmp_path):
    def open_(*settings, run: str = "run", manifest_hash: str = "feed", say=lambda _: None) -> ResultCache:
        return ResultCache(tiny(*settings), RunFolder(tmp_path / run), manifest_hash=manifest_hash, say=say)

    return open_


def kept(cache: ResultCache, architecture=POOL, *, trial: int = 3, accuracy: float = 0.75):
    cache.keep(architecture, trial=trial, accuracy=accuracy, curve=(epoch(1, accuracy),))
    return cache


def test_another_run_gets_the_result_and_is_told_from_where(opened_cache, tmp_path):
    kept(opened_cache())
    result = opened_cache(run="other").answer(POOL)
    assert (result.accuracy, result.curve) == (0.75, (epoch(1, 0.75),))
    assert (result.source.run, result.source.trial, result.source.seconds) == (str(tmp_path / "run"), 3, 2.0)


@pytest.mark.parametrize(
    "other",
    [
        {"settings": ["proxy.epochs=9"]},
        {"settings": ["proxy.lr=0.5"]},
        {"settings": ["search.training_seed=1"]},
        {"settings": ["resources.gpu=1"]},
        {"manifest_hash": "another"},
    ],
)
def test_what_was_trained_otherwise_is_no_answer(opened_cache, other):
    kept(opened_cache())
    assert opened_cache(*other.pop("settings", []), **other).answer(POOL) is None


@pytest.mark.parametrize("setting", ["search.proposal_seed=1", "search.trials=9", "proxy.signal=accuracy", "name=other"])
def test_what_no_training_depends_on_changes_nothing(opened_cache, setting):
    kept(opened_cache())
    assert opened_cache(setting).answer(POOL) is not None


@pytest.mark.parametrize("name", ["torch", "timm", "numpy", "nas"])
def test_another_version_of_what_computes_is_another_training(opened_cache, monkeypatch, name):
    kept(opened_cache())
    monkeypatch.setattr("nas.run.cache.versions", lambda: {"nas": "0", "torch": "0", "timm": "0", "numpy": "0", name: "1"})
    assert opened_cache().answer(POOL) is None


def test_changed_code_is_another_training(opened_cache, monkeypatch):
    kept(opened_cache())
    monkeypatch.setattr("nas.run.cache._code", lambda: "changed")
    assert opened_cache().answer(POOL) is None


def test_equal_networks_share_a_result_and_others_do_not(opened_cache):
    cache = kept(opened_cache())
    assert cache.answer(POOL.model_copy()) is not None
    assert cache.answer(ATTENTION) is None


def test_the_first_result_of_a_training_stays(opened_cache):
    kept(kept(opened_cache(), accuracy=0.25), accuracy=0.5)
    assert opened_cache().answer(POOL).accuracy == 0.25


def _cut(text: str) -> str:
    return text[: len(text) // 2]


def _lucky(text: str) -> str:
    return text.replace("0.75", "0.95")


def _of_another(text: str) -> str:
    return text.replace(POOL.identity, ATTENTION.identity)


@pytest.mark.parametrize("damage", [_cut, _lucky, _of_another, lambda text: "", lambda text: "[]", lambda text: "[" * 10_000])
def test_a_damaged_result_is_thrown_away_and_said(opened_cache, damage):
    said = []
    (file,) = kept_files(kept(opened_cache()).folder)
    file.path.write_text(damage(file.path.read_text()))
    cache = opened_cache(say=said.append)
    assert cache.answer(POOL) is None
    assert not file.path.exists()
    assert len(said) == 1
    assert "damaged" in said[0]
    assert str(file.path) in said[0]
    assert kept(cache).answer(POOL) is not None


def test_a_result_under_the_name_of_another_is_thrown_away(opened_cache):
    cache = kept(opened_cache())
    (file,) = kept_files(cache.folder)
    os.rename(file.path, cache.folder / f"{ATTENTION.identity}.json")
    assert cache.answer(ATTENTION) is None
    assert cache.number == 0


def test_a_folder_that_cannot_be_written_is_said_once_and_ends_nothing(opened_cache, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAS_RESULTS", str(tmp_path / "file"))
    said = []
    cache = kept(kept(opened_cache(say=said.append)), ATTENTION)
    assert cache.answer(POOL) is None
    assert len(said) == 1
    assert "not shared" in said[0]


def _write_many(folder: str, name: int) -> None:
    os.environ["NAS_RESULTS"] = folder
    from nas.run.settings.search import read_search

    cache = ResultCache(read_search("tiny"), RunFolder(results_folder() / f"run{name}"), manifest_hash="feed")
    for number in range(40):
        stage = POOL.stages[0].model_copy(update={"width": 8 * (number + 1)})
        kept(cache, POOL.model_copy(update={"stages": (stage, *POOL.stages[1:])}), trial=number, accuracy=0.5)


def test_many_writers_at_once_leave_whole_files(opened_cache, monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_RESULTS", str(tmp_path / "shared"))
    writers = [get_context("fork").Process(target=_write_many, args=(str(tmp_path / "shared"), name)) for name in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    cache = opened_cache()
    files = list(kept_files(cache.folder))
    assert len(files) == cache.number == 40
    assert all(json.loads(file.path.read_text())["result"]["accuracy"] == 0.5 for file in files)
    assert not list(cache.folder.glob(".*"))


def test_what_there_is_can_be_shown_and_pruned(opened_cache):
    cache = kept(kept(opened_cache()), ATTENTION)
    (way,) = ways_of_training()
    assert (way.number, way.facts()[1:4]) == (2, ("feed", "0", "cpu"))
    old = cache.folder / f"{POOL.identity}.json"
    os.utime(old, (time.time() - 10 * 86_400,) * 2)
    assert [file.path for file in prune(unused_days=9)] == [old]
    assert prune(keep_bytes=10**9) == []
    assert len(prune(keep_bytes=0)) == 1
    assert ways_of_training() == []
    assert not cache.folder.exists()


def test_an_answer_counts_as_use(opened_cache):
    cache = kept(opened_cache())
    (file,) = kept_files(cache.folder)
    os.utime(file.path, (0, 0))
    cache.answer(POOL)
    assert prune(unused_days=1) == []


def test_what_a_killed_writer_left_is_removed_in_time(opened_cache):
    cache = kept(opened_cache())
    fresh, lost = (cache.folder / f".{name}.part" for name in ("fresh", "lost"))
    for path in (fresh, lost):
        path.write_text("{")
    os.utime(lost, (0, 0))
    prune(unused_days=1)
    assert fresh.exists()
    assert not lost.exists()
