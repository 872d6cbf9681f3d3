"""The one line that a search quotes of its calibration."""

import json

import pytest

from nas.calibration.quote import is_calibrated, quote
from nas.calibration.record import calibrated_as
from nas.files import write_whole
from nas.recipes.recipe import Distillation, Proxy, plain_recipe
from nas.run.folder import open_folder

NAMES = [f"net {i}" for i in range(12)]


@pytest.fixture
def run(tiny, tmp_path):
    """A run's folder and a way to put a calibration into it."""
    search = tiny()
    folder = open_folder(tmp_path / "run", search)

    def calibrated(recipe: Proxy = search.proxy, *, seeds: int = 2, **row) -> None:
        numbers = {"tau_trained": 0.55, "tau_trained_low": 0.31, "tau_trained_high": 0.72, "is_reference": False, **row}
        summary = {
            "against": "long",
            "seeds": seeds,
            "ranked": NAMES,
            "hardly_train": NAMES[:2],
            "fidelities": {"proxy": numbers},
            "floors": {"macs": {"tau_trained": [0.4, 0.1, 0.6]}},
            "recipes": {"proxy": plain_recipe(recipe)},
            "manifests": {"proxy": "feed"},
        }
        write_whole(folder.calibration / "calibration.json", json.dumps(summary))

    return folder, calibrated


def test_a_run_that_was_never_calibrated_says_so_and_how(run):
    assert quote(run[0].root).startswith("proxy: never calibrated")
    assert f"nas calibrate {run[0].root}/search.yaml --out {run[0].root}" in quote(run[0].root)


def test_a_calibration_of_the_runs_own_recipe_is_quoted(run):
    folder, calibrated = run
    calibrated()
    assert quote(folder.root) == (
        f"proxy: Kendall tau 0.55 [0.31, 0.72] to 'long' on 10 architectures, MACs alone 0.40; {folder.calibration}"
    )
    calibrated(is_reference=True)
    assert "it is the truth of its own calibration; another seed of it agrees with Kendall tau 0.55" in quote(folder.root)
    calibrated(is_reference=True, seeds=1)
    assert "with one seed only, so nobody knows how far it repeats" in quote(folder.root)


def test_a_calibration_of_another_recipe_is_not_quoted(run):
    folder, calibrated = run
    calibrated(Proxy(epochs=99))
    assert quote(folder.root).startswith("proxy: calibrated as another recipe or on other images")
    assert not is_calibrated(folder.root)
    calibrated()
    assert is_calibrated(folder.root)


def test_a_damaged_calibration_does_not_keep_a_report_from_being_shown(run):
    folder, _ = run
    write_whole(folder.calibration / "calibration.json", '{"recipes": ')
    assert "cannot be read" in quote(folder.root)


def test_a_calibration_knows_its_teacher_by_where_it_lies_and_by_its_digest_where_that_is_known():
    def learnt(**teacher) -> Proxy:
        return Proxy(distillation=Distillation(**teacher))

    def is_same(one: Proxy, other: Proxy) -> bool:
        calibration = {"recipes": {"short": plain_recipe(one)}, "manifests": {"short": "feed"}}
        return calibrated_as(calibration, other, manifest="feed") == "short"

    digests = {"one": "0" * 16, "other": "f" * 16}
    assert is_same(learnt(teacher="here"), learnt(teacher="here", digest=digests["one"]))
    assert not is_same(learnt(teacher="here"), learnt(teacher="there", digest=digests["one"]))
    assert not is_same(learnt(teacher="here", digest=digests["one"]), learnt(teacher="here", digest=digests["other"]))
    assert is_same(learnt(teacher="here", digest=digests["one"]), learnt(teacher="there", digest=digests["one"]))
    assert not is_same(learnt(teacher="here"), Proxy())
