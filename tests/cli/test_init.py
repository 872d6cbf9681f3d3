"""A search for somebody's own images, written by looking at them."""

import sys

import pytest

from nas.cli import init
from nas.cli.main import app, run_reporting
from nas.run.settings.search import read_search
from tests.images import class_folders, picture


@pytest.fixture
def nas(capsys, monkeypatch, tmp_path):
    """Runs `nas init` in a folder of its own on a machine of known speed; exit code, what it printed, what it complained of."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(init, "machine", lambda: (False, 1e10, lambda side: 5e3 * side**2))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas", "init", *arguments])
        with pytest.raises(SystemExit) as ended:
            run_reporting(app)
        return ended.value.code, *capsys.readouterr()

    return run


def test_a_folder_of_images_becomes_a_search_and_the_way_on(nas, tmp_path):
    class_folders(tmp_path / "my photos", images=20)
    code, out, _ = nas("--data", "my photos")
    assert code == 0 and "48 training images of 3 classes, about 10 px a side" in out
    assert "nas search my-photos.yaml" in out.replace("python -m ", "")
    search = read_search(tmp_path / "my-photos.yaml")
    assert (search.name, search.space.num_classes, search.proxy.data) == ("my-photos", 3, str(tmp_path / "my photos"))
    before = (tmp_path / "my-photos.yaml").read_text()
    code, _, err = nas("--data", "my photos")
    assert code == 2 and "exists, and is not written over" in err
    assert (tmp_path / "my-photos.yaml").read_text() == before


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("digits", "must be a folder of images or a tar of one, but got digits"),
        ("nowhere", "is none of these. Check the path"),
        ("one", "must have at least 2 classes"),
        ("broken", "none of the images that were tried can be read"),
    ],
)
def test_what_can_not_be_searched_on_is_refused_and_nothing_written(nas, tmp_path, data, message):
    picture(tmp_path / "one" / "ant" / "0.png")
    for name in ("ant", "bee"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "0.png").write_bytes(b"no image")
    code, _, err = nas("--data", data)
    assert code == 2 and message in " ".join(err.split())
    assert not list(tmp_path.glob("*.yaml"))
