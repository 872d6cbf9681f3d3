"""The fresh process that proves exports: many directories at once, each judged by itself."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas.errors import NasError
from nas.export.directory import Description, drafted, write_export
from nas.export.proof import packages_path, prove, rounding
from nas.models.metaformer import build
from nas.run.settings.search import read_search
from nas.space.architecture import Architecture, Stage
from nas.space.constraints import random_architecture
from nas.space.reference import design

torch.set_num_threads(1)
ABOUT = Description(class_names=None, mean=(0.5,) * 3, std=(0.2,) * 3, provenance={})
ROOT = Path(__file__).parents[2]
SPACES = ROOT / "search_spaces"


def shaken(architecture, *, size, seed=0):
    """A network in which every weight counts: fresh layer scales would hide what their branches compute."""
    torch.manual_seed(seed)
    net = build(architecture, image_size=size, num_classes=5)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.2 * torch.randn_like(parameter) + 0.3)
    return net.eval()


def written(architecture, directory, *, size=32, change=None):
    """The directory of a shaken network, after `change` of the text of its model.py, and the logits expected of it."""
    prepared = drafted(architecture, shaken(architecture, size=size).state_dict(), ABOUT, image_size=size, num_classes=5)
    if change is not None:
        prepared = prepared._replace(texts={**prepared.texts, "model.py": change(prepared.texts["model.py"])})
    directory.mkdir()
    write_export(prepared, directory)
    return prepared


def stages(*mixers, **options):
    return Architecture(
        stages=[Stage(mixer=m, depth=1, width=w, **options) for m, w in zip(mixers, (48, 64, 320), strict=False)]
    )


@pytest.mark.slow
def test_one_process_judges_every_directory_by_itself(tmp_path):
    """Torch multiplies a map of 4 positions, as C has, another way when the weights were made in inference mode."""
    own = stages("pool", "pool", "spatial_fc")
    names = {
        "a": (design("poolformerv2_s12"), None),
        "b": (stages("pool", "conv", "attention", norm="group", mlp_ratio=2), None),
        "c": (own, None),
        "nudged": (own, None),
        "other": (own, lambda text: text.replace("return average(x, self.size) - x", "return average(x, self.size)")),
        "ours": (own, lambda text: text + "\nimport nas\n"),
        "foreign": (own, lambda text: text + "\nimport pandas\n"),
    }
    expected = {}
    for name, (architecture, change) in names.items():
        prepared = written(architecture, tmp_path / name, change=change)
        expected[tmp_path / name] = prepared.logits
        assert prepared.level.letter.lower() == name or name not in "abc"
    nudged = expected[tmp_path / "nudged"] = expected[tmp_path / "nudged"].clone()
    nudged[0, 0] = torch.nextafter(nudged[0, 0], torch.tensor(9.0))
    proofs = {proof.directory.name: proof for proof in prove(expected)}
    assert [proofs[name].difference for name in "abc"] == [0.0, 0.0, 0.0]
    assert 0 < proofs["nudged"].difference < 1e-6
    assert proofs["other"].difference > 1e-3
    assert "must not need the package nas" in proofs["ours"].error and proofs["ours"].difference is None
    assert "must not need the package pandas" in proofs["foreign"].error


@pytest.mark.parametrize("found", [torch.tensor([[0.5, 0.1]]), torch.tensor([[5000.0, 0.1]])])
def test_what_is_written_may_round_and_no_more(found):
    scale = max(1.0, found.max().item())
    assert rounding(found, found + 5e-5 * scale) == pytest.approx(5e-5 * scale, rel=0.1)
    with pytest.raises(NasError, match="must compute the logits of the one found, but they differ by up to"):
        rounding(found, found + 2e-4 * scale)


@pytest.mark.slow
def test_random_architectures_of_the_flagship_space_come_back_bit_for_bit(tmp_path):
    space, rng, expected = read_search(SPACES / "hybrid.yaml").space, random.Random(7), {}
    for i in range(12):
        expected[tmp_path / str(i)] = written(random_architecture(space, rng), tmp_path / str(i), size=64).logits
    assert [proof.difference for proof in prove(expected)] == [0.0] * 12


EXPORTED = """
import sys
from pathlib import Path
from nas.export.directory import Description, export_network
from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
own = Architecture(stages=[Stage(mixer="dwconv", depth=1, width=16)])
about = Description(None, (0.5,) * 3, (0.5,) * 3, {})
state = build(own, image_size=32, num_classes=4).state_dict()
export_network(own, state, Path(sys.argv[1]), about, image_size=32, num_classes=4)
"""
NOISE = """
import atexit, os, sys
import nas  # a start-up file may
print("from a library")
sys.stdout.buffer.write(bytes([255, 10]))
atexit.register(os._exit, 3)
atexit.register(print, "from a library, last")
"""


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Packages on this process's path alone, and in the user's folder, PYTHONPATH and environment what could come between."""
    folder, start = tmp_path / "work", tmp_path / "start"
    folder.mkdir()
    start.mkdir()
    for name in ("model", "torch", "random", "card", "nas_model", "safetensors"):
        (folder / f"{name}.py").write_text("raise SystemExit('the wrong file')")
    (start / "sitecustomize.py").write_text(NOISE)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "executable", sys._base_executable)  # a Python whose own folders lack torch
    monkeypatch.setattr(sys, "path", ["", *sys.path, str(ROOT)])
    for name, value in {
        "PATH": f"{start}{os.pathsep}{ROOT}",
        "INSPECT": "1",
        "WARNINGS": "error",
        "STARTUP": "gone.py",
    }.items():
        monkeypatch.setenv(f"PYTHON{name}", value)


@pytest.mark.thorough
def test_packages_are_found_wherever_this_process_finds_them_and_this_one_nowhere(tmp_path, hostile):
    """Three directories in one process: a good one, and two that ask for this package in words that no reader sees."""
    hidden = {"good": "", "imported": "__import__('na' + 's')", "module": "importlib.import_module('na' + 's.errors')"}
    own, expected = stages("dwconv", "pool"), {}
    for name, line in hidden.items():
        text = f"\nimport importlib\n{line}\n"
        expected[tmp_path / name] = written(own, tmp_path / name, change=lambda source, text=text: source + text).logits
    good, imported, module = prove(expected)
    assert (good.error, good.difference) == (None, 0.0)
    assert all("must not need the package nas" in proof.error for proof in (imported, module))


def test_a_process_that_dies_is_one_message_with_what_it_said(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if "site-packages" not in entry])
    monkeypatch.setattr(sys, "executable", sys._base_executable)
    with pytest.raises(NasError, match=r"(?s)fresh process that proves exports ended with 1:.*No module named 'torch'"):
        prove({tmp_path: torch.zeros(2, 5)})


def test_the_path_of_packages_means_the_same_in_every_folder(tmp_path, monkeypatch):
    (tmp_path / "deps").mkdir()
    (tmp_path / "deps.zip").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "path", ["", "deps", "deps.zip/lib", "../x", "/gone", "__editable__.torch.__path_hook__", tmp_path]
    )
    ours, above = str(tmp_path), str(tmp_path.parent / "x")
    assert packages_path() == [
        f"{ours}/deps", f"{ours}/deps.zip/lib", above, "/gone", "__editable__.torch.__path_hook__", ours,
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("place", ["PYTHONPATH", "user site", "target folder"])
def test_a_whole_export_works_where_packages_lie_outside_the_environment(place, tmp_path):
    site = Path(torch.__file__).parents[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    lines = EXPORTED
    if place == "PYTHONPATH":
        environment["PYTHONPATH"] = f"{ROOT}{os.pathsep}{site}"
    elif place == "user site":
        environment["PYTHONUSERBASE"] = str(tmp_path)
        user = tmp_path / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
        user.mkdir(parents=True)
        (user / "all.pth").write_text(f"{site}\n")
    else:
        (tmp_path / "target").symlink_to(site)
        lines = f"import sys; sys.path.insert(0, {str(tmp_path / 'target')!r})\n{lines}"
    command = [sys._base_executable, "-c", lines, str(tmp_path / "out")]
    export = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert export.returncode == 0, export.stderr
    assert (tmp_path / "out" / "model.py").is_file()
