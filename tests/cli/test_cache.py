"""The verb `nas cache` as a user meets it."""

import os

import pytest

from nas.data.cache import teachers_folder
from nas.run.cache import ResultCache, results_folder
from nas.run.folder import RunFolder
from nas.space.reference import design
from tests.cli.test_verbs import nas  # noqa: F401
from tests.studies import epoch


@pytest.fixture
def filled(tiny, tmp_path):
    cache = ResultCache(tiny(), RunFolder(tmp_path / "run"), manifest_hash="feed")
    for name in ("poolformer_s12", "caformer_s18"):
        cache.keep(design(name), trial=0, accuracy=0.5, curve=(epoch(1),))
    return cache


def test_it_says_how_many_results_there_are_how_large_and_where(nas, filled):  # noqa: F811
    code, out, _ = nas("cache")
    assert code == 0
    assert out.startswith("2 results of trainings, ")
    assert str(results_folder()) in out.replace("\n", "")
    assert filled.folder.name in out
    assert "feed" in out


def test_without_results_it_says_so_and_makes_no_folder(nas):  # noqa: F811
    code, out, _ = nas("cache")
    assert (code, out.startswith("0 results of trainings, 0B")) == (0, True)
    assert not results_folder().exists()


def test_results_are_removed_by_age_or_down_to_a_size(nas, filled):  # noqa: F811
    os.utime(filled.folder / f"{design('caformer_s18').identity}.json", (0, 0))
    assert "removed 1 results" in nas("cache", "prune", "--unused-days", "30")[1]
    assert "removed 0 results" in nas("cache", "prune", "--keep", "1G")[1]
    assert "removed 1 results" in nas("cache", "prune", "--keep", "0")[1]
    assert filled.number == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "needs --unused-days or --keep"),
        (("--keep", "much"), "--keep: must be a number of bytes, such as 500M or 2G, but got 'much'"),
        (("--keep", "-1"), "--keep: must be a number of bytes"),
    ],
)
def test_a_prune_that_cannot_be_meant_removes_nothing(nas, filled, options, message):  # noqa: F811
    code, _, err = nas("cache", "prune", *options)
    assert code == 2
    assert message in " ".join(err.split())
    assert filled.number == 2


def test_a_run_without_answers_has_nothing_to_verify(nas, tiny, tmp_path):  # noqa: F811
    from nas.run.folder import open_folder
    from nas.search.study import Study

    study = Study(tiny(), open_folder(tmp_path / "run", tiny()), manifest_hash="feed")
    study.close()
    code, _, err = nas("cache", "verify", str(tmp_path / "run"))
    assert code == 2
    assert "holds no answers of other runs" in err


def test_it_says_what_the_answers_of_teachers_take(nas, filled, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    assert "teachers" not in nas("cache")[1]
    teachers_folder().mkdir(parents=True)
    (teachers_folder() / "0123456789abcdef.sqlite").write_bytes(b"0" * 2_000)
    assert "answers of teachers, 2.00 kB, in " in nas("cache")[1]
