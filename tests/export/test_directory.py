"""An exported directory: what is in it, what plain timm makes of it, and that nothing half-made is left."""

import ast
import copy
import importlib
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file

from nas.errors import NasError
from nas.export import directory as module
from nas.export.directory import Description, export_network
from nas.export.fresh import load_stub
from nas.export.proof import Proof
from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
from nas.space.cost import cost
from nas.space.reference import from_timm

torch.set_num_threads(1)
SIZE, CLASSES = 32, 5
COMMON = {"image_size": SIZE, "num_classes": CLASSES}
PROVENANCE = {"accuracy": 0.8125, "split": "the test split", "seed": 3, "recipe": {"data": "/home/me/cats", "epochs": 9}}
ABOUT = Description(class_names=None, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.2), provenance=PROVENANCE)


def small(**changes):
    affine, attention = {"norm": "group", "norm_bias": True}, {"position_embedding": True}
    mixers = [("affine", affine), ("conv", {}), ("spatial_fc", {}), ("attention", attention)]
    stages = [Stage(mixer=m, depth=1, width=32, mlp_ratio=2.0, **options) for m, options in mixers]
    return Architecture(**{"stages": stages, "stem_stride": 2, "head": "mlp", **changes})


def trained(architecture):
    torch.manual_seed(0)
    return build(architecture, image_size=SIZE, num_classes=CLASSES).eval()


def imported(directory):
    load_stub(directory, json.loads((directory / "config.json").read_text())["architecture"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """One export, proven in its fresh process, and the network that it came from."""
    net = trained(small())
    out = tmp_path_factory.mktemp("export") / "found"
    level = export_network(small(), net.state_dict(), out, ABOUT._replace(class_names=tuple("abcde")), **COMMON)
    assert level.letter == "C"
    imported(out)
    return out, net


@pytest.fixture
def unproven(monkeypatch):
    """Exports without their fresh process, which takes seconds."""
    monkeypatch.setattr(module, "prove", lambda expected, **_: [Proof(directory, 0.0) for directory in expected])


def images():
    return torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))


@pytest.mark.thorough
def test_an_export_is_four_files_and_nothing_beside_them(exported):
    out, _ = exported
    assert sorted(file.name for file in out.iterdir()) == ["README.md", "config.json", "model.py", "model.safetensors"]
    assert [file.name for file in out.parent.iterdir()] == ["found"]


def test_timm_loads_the_network_that_was_found(exported):
    out, net = exported
    loaded = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images()), net(images()), rtol=1e-5, atol=1e-5)


def test_timm_gives_it_a_fresh_head_and_keeps_the_rest(exported):
    out, _ = exported
    loaded = timm.create_model(f"local-dir:{out}", pretrained=True, num_classes=7)
    saved = load_file(out / "model.safetensors")
    changed = {key for key, value in loaded.state_dict().items() if key not in saved or not torch.equal(value, saved[key])}
    assert loaded(images()).shape == (2, 7) and changed == {"head.fc.fc2.weight", "head.fc.fc2.bias"}


def test_timm_takes_its_maps(exported):
    out, net = exported
    features = timm.create_model(f"local-dir:{out}", pretrained=True, features_only=True, out_indices=(1, 3)).eval()
    with torch.inference_mode():
        maps = net.forward_intermediates(images(), indices=[1, 3], intermediates_only=True)
        for found, expected in zip(features(images()), maps, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_timm_loads_it_by_name_alone_and_reads_how_to_prepare_images(exported):
    out, _ = exported
    loaded = timm.create_model(json.loads((out / "config.json").read_text())["architecture"], pretrained=True)
    data = timm.data.resolve_data_config(model=loaded)
    assert (data["input_size"], data["mean"], data["crop_pct"]) == ([3, SIZE, SIZE], [0.5, 0.4, 0.3], 1.0)
    assert loaded(images()).shape == (2, CLASSES)


def test_the_config_says_what_the_model_is_and_where_it_comes_from(exported):
    out, _ = exported
    config = json.loads((out / "config.json").read_text())
    merged = Architecture.model_validate(config["metaformer"]["architecture"])
    assert [s.mixer for s in merged.stages] == ["identity", "conv", "spatial_fc", "attention"]
    assert config["architecture"] == f"nas_{merged.key}"
    assert config["metaformer"]["cost"] == cost(merged, image_size=SIZE, num_classes=CLASSES).by_name()
    assert config["metaformer"]["level"] == "C"
    assert config["metaformer"]["provenance"] == {**PROVENANCE, "recipe": {"data": "cats", "epochs": 9}}
    assert config["label_names"] == list("abcde")
    assert (config["num_classes"], config["num_features"], config["global_pool"]) == (CLASSES, 32, "avg")
    assert config["pretrained_cfg"]["classifier"] == "head.fc.fc2" and config["pretrained_cfg"]["fixed_input_size"]


def test_model_py_imports_torch_timm_and_the_standard_library_only(exported):
    tree = ast.parse((exported[0] / "model.py").read_text())
    nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
    roots = {(n.module if isinstance(n, ast.ImportFrom) else n.names[0].name).split(".")[0] for n in nodes}
    assert roots - set(sys.stdlib_module_names) == {"torch", "timm"}


def loaded_as_the_card_says(out, *, folder=None):
    """The network that the card's own lines make; the folder is named as a reader would, `.` in it."""
    lines = (out / "README.md").read_text().split("```python\n")[1].split("```")[0]
    namespace = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a second export of a name is nothing to warn of
        exec(lines if folder else lines.replace('"."', repr(str(out))), namespace)
    return namespace["net"].eval()


def test_the_lines_of_the_card_load_the_model_from_its_own_folder(exported, monkeypatch):
    out, net = exported
    monkeypatch.chdir(out)
    loaded = loaded_as_the_card_says(out, folder=".")
    with torch.inference_mode():
        torch.testing.assert_close(loaded(images()), net(images()), rtol=1e-5, atol=1e-5)


def test_many_exports_are_loaded_in_one_process_in_any_order_and_after_a_move(tmp_path, unproven):
    """Among them two of one architecture, whose weights, classes and image size are their own."""
    free_of_timm = small(head="linear")
    kinds = {
        "b": (free(), SIZE, 5),
        "c": (free_of_timm, SIZE, 5),
        "small": (free_of_timm, 2 * SIZE, 3),
        "other": (free(), 64, 7),
    }
    expected = {}
    for seed, (name, (architecture, size, classes)) in enumerate(kinds.items()):
        torch.manual_seed(seed)
        net = build(architecture, image_size=size, num_classes=classes).eval()
        export_network(architecture, net.state_dict(), tmp_path / name, ABOUT, image_size=size, num_classes=classes)
        picture = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            expected[name] = picture, net(picture)
    (tmp_path / "small").rename(tmp_path / "moved")
    for name in ("b", "c", "small", "other", "c", "b"):
        loaded = loaded_as_the_card_says(tmp_path / {"small": "moved"}.get(name, name))
        with torch.inference_mode():
            torch.testing.assert_close(loaded(expected[name][0]), expected[name][1], rtol=1e-4, atol=1e-5)
    for name in ("c", "small", "b", "other"):  # without their lines again: the stubs of one architecture are equals
        loaded = timm.create_model(f"local-dir:{tmp_path / {'small': 'moved'}.get(name, name)}", pretrained=True).eval()
        with torch.inference_mode():
            torch.testing.assert_close(loaded(expected[name][0]), expected[name][1], rtol=1e-4, atol=1e-5)


@pytest.mark.thorough
def test_an_export_is_also_found_by_the_import_that_older_cards_name(tmp_path, unproven, monkeypatch):
    export_network(free(), trained(free()).state_dict(), tmp_path / "found", ABOUT, **COMMON)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "found"), *sys.path])
    monkeypatch.delitem(sys.modules, "model", raising=False)
    importlib.import_module("model")
    assert timm.create_model(f"local-dir:{tmp_path / 'found'}", pretrained=True)(images()).shape == (2, CLASSES)
    del sys.modules["model"]


def test_a_network_as_the_card_loads_it_can_be_copied_and_pickled(exported):
    net = loaded_as_the_card_says(exported[0])
    again = pickle.loads(pickle.dumps(net))
    assert torch.equal(again(images()), copy.deepcopy(net)(images()))


def test_pretrained_weights_of_positions_refuse_another_image_size_from_timm(exported):
    out, _ = exported
    with pytest.raises(ValueError, match=r"belong to the positions of 32 px images, but got img_size=64"):
        timm.create_model(f"local-dir:{out}", pretrained=True, img_size=64)
    assert timm.create_model(f"local-dir:{out}", img_size=64)(torch.zeros(1, 3, 64, 64)).shape == (1, CLASSES)


def free(**changes):
    """All resolutions will do; timm's classes are enough."""
    stages = [Stage(mixer=m, depth=1, width=32, mlp_ratio=2.0) for m in ("pool", "conv", "attention")]
    return Architecture(**{"stages": stages, "head": "mlp", **changes})


@pytest.mark.parametrize(
    ("architecture", "letter", "classifier"),
    [
        pytest.param(from_timm("poolformerv2_s12"), "A", "head.fc", marks=pytest.mark.slow),
        (free(), "B", "head.fc.fc2"),
    ],
)
def test_timm_gives_fresh_heads_other_channels_and_maps_of_any_image(architecture, letter, classifier, tmp_path, unproven):
    out, net = tmp_path / "found", trained(architecture)
    assert export_network(architecture, net.state_dict(), out, ABOUT, **COMMON).letter == letter
    assert (out / "model.py").is_file() == (letter == "B")
    if letter == "B":
        imported(out)
    source, saved = f"local-dir:{out}", load_file(out / "model.safetensors")
    transferred = timm.create_model(source, pretrained=True, num_classes=7).state_dict()
    changed = {key for key, value in transferred.items() if key not in saved or not torch.equal(value, saved[key])}
    assert changed == {f"{classifier}.weight", f"{classifier}.bias"} and len(transferred[f"{classifier}.bias"]) == 7
    grey = timm.create_model(source, pretrained=True, in_chans=1)
    torch.testing.assert_close(grey.stem.conv.weight, saved["stem.conv.weight"].sum(1, keepdim=True))  # timm's own rule
    features = timm.create_model(source, pretrained=True, features_only=True, out_indices=(0, 2)).eval()
    for size in (32, 96):
        wide = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(size))
        with torch.inference_mode():
            maps = net.forward_intermediates(wide, indices=[0, 2], intermediates_only=True)
            for found, expected in zip(features(wide), maps, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_a_network_that_takes_any_resolution_can_be_meant_for_another(tmp_path, unproven):
    export_network(free(), trained(free()).state_dict(), tmp_path / "found", ABOUT, image_size=96, num_classes=CLASSES)
    config = json.loads((tmp_path / "found" / "config.json").read_text())
    assert config["pretrained_cfg"]["input_size"] == [3, 96, 96]
    assert config["metaformer"]["cost"] == cost(free(), image_size=96, num_classes=CLASSES).by_name()


@pytest.mark.parametrize("option", ["stem_norm", "downsample_norm"])
def test_a_network_of_ours_without_a_norm_around_its_stages_is_loaded(option, tmp_path, unproven):
    own = Architecture(stages=[Stage(mixer=m, depth=1, width=16) for m in ("dwconv", "pool")], **{option: False})
    net = trained(own)
    export_network(own, net.state_dict(), tmp_path / "found", ABOUT, **COMMON)
    with torch.inference_mode():
        assert torch.equal(loaded_as_the_card_says(tmp_path / "found")(images()), net(images()))


def test_a_linear_head_is_named_as_the_classifier(tmp_path, unproven):
    out = tmp_path / "found"
    export_network(small(head="linear"), trained(small(head="linear")).state_dict(), out, ABOUT, **COMMON)
    config = json.loads((out / "config.json").read_text())
    assert config["pretrained_cfg"]["classifier"] == "head.fc" and "label_names" not in config


def test_an_existing_directory_is_left_alone_unless_forced(tmp_path, unproven):
    state, out = trained(small()).state_dict(), tmp_path / "found"
    export_network(small(), state, out, ABOUT, **COMMON)
    with pytest.raises(NasError, match=r"must be new, but .*found exists; choose another, or replace it with --force"):
        export_network(small(), state, out, ABOUT, **COMMON)
    export_network(small(), state, out, ABOUT, **COMMON, force=True)
    assert [file.name for file in tmp_path.iterdir()] == ["found"]


def test_what_somebody_put_beside_an_export_is_never_replaced(tmp_path, unproven):
    state, out = trained(small()).state_dict(), tmp_path / "found"
    export_network(small(), state, out, ABOUT, **COMMON)
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(NasError, match=r"found exists; choose another\.$"):
        export_network(small(), state, out, ABOUT, **COMMON)
    with pytest.raises(NasError, match=r"only an earlier export is replaced, but .* also holds thesis\.tex"):
        export_network(small(), state, out, ABOUT, **COMMON, force=True)
    (out / "thesis.tex").unlink()
    (out / "config.json").write_text("{}")  # a model of somebody else's
    with pytest.raises(NasError, match=r"holds another config\.json"):
        export_network(small(), state, out, ABOUT, **COMMON, force=True)


def test_a_directory_that_is_no_export_is_never_replaced(tmp_path, unproven):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(NasError, match=r"holds no config\.json"):
        export_network(small(), trained(small()).state_dict(), tmp_path, ABOUT, **COMMON, force=True)
    assert (tmp_path / "thesis.tex").exists()


def test_weights_of_another_architecture_are_refused_by_name(tmp_path):
    state = trained(small(head="linear")).state_dict()
    state["stem.conv.bias"] = torch.zeros(7)
    with pytest.raises(NasError, match=r"head\.fc\.bias is not in this architecture; .*fc1\.bias is missing") as refusal:
        export_network(small(), state, tmp_path / "found", ABOUT, **COMMON)
    assert "and 4 more" in str(refusal.value) and not list(tmp_path.iterdir())
    other = {**trained(small()).state_dict(), "stem.conv.bias": torch.zeros(7)}
    with pytest.raises(NasError, match=r"stem\.conv\.bias is \(7,\) instead of \(32,\)"):
        export_network(small(), other, tmp_path / "found", ABOUT, **COMMON)


def test_weights_of_another_number_of_classes_are_refused_as_such(tmp_path):
    with pytest.raises(NasError, match="a classifier of 7 classes, as many as the data, but theirs has 5"):
        export_network(small(), trained(small()).state_dict(), tmp_path / "found", ABOUT, image_size=SIZE, num_classes=7)


def test_weights_of_positions_are_refused_at_another_resolution(tmp_path):
    with pytest.raises(NasError, match=r"\(here in stage 3, 4\) takes the resolution .* but got 64 px"):
        export_network(small(), trained(small()).state_dict(), tmp_path / "found", ABOUT, image_size=64, num_classes=CLASSES)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    state = trained(small()).state_dict()
    state["stem.conv.weight"][0, 0, 0, 0] = float("nan")
    with pytest.raises(NasError, match="differ by up to nan"):
        export_network(small(), state, tmp_path / "found", ABOUT, **COMMON)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"class_names": ["cat"]}, "one name a class, 5 in all, but got 1"),
        ({"provenance": {"path": object()}}, "provenance must be JSON data"),
        ({"provenance": {"accuracy": float("nan")}}, "provenance must be JSON data"),
        ({"license": "my own: free"}, "--license must be an identifier such as apache-2.0"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is(changes, message, tmp_path):
    with pytest.raises(NasError, match=message):
        export_network(small(), trained(small()).state_dict(), tmp_path / "found", ABOUT._replace(**changes), **COMMON)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "difference, error, message",
    [(None, "ImportError: no", "does not load in a fresh process; nothing was written:\nImportError: no"),
     (3e-7, None, "timm computes other logits than the network found, by up to 3.0e-07"),
     (float("nan"), None, "timm computes other logits than the network found, by up to nan")],
)  # fmt: skip
def test_an_export_that_does_not_come_back_equal_leaves_no_directory(difference, error, message, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "prove", lambda expected, **_: [Proof(directory, difference, error) for directory in expected])
    with pytest.raises(NasError, match=message):
        export_network(small(), trained(small()).state_dict(), tmp_path / "found", ABOUT, **COMMON)
    assert not list(tmp_path.iterdir())


def test_a_failed_forced_export_keeps_the_earlier_one(tmp_path, monkeypatch):
    def fail(expected, **_):
        raise NasError("other logits")

    monkeypatch.setattr(module, "prove", fail)
    (tmp_path / "found").mkdir()
    (tmp_path / "found" / "config.json").write_text('{"metaformer": {}}')
    with pytest.raises(NasError, match="other logits"):
        export_network(small(), trained(small()).state_dict(), tmp_path / "found", ABOUT, **COMMON, force=True)
    assert "metaformer" in (tmp_path / "found" / "config.json").read_text() and len(list(tmp_path.iterdir())) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from nas.export.directory import _replace
def fill(draft):
    (draft / "config.json").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
_replace(Path(sys.argv[1]), fill)
"""


@pytest.mark.slow
def test_a_killed_export_leaves_no_directory_and_the_next_one_clears_up(tmp_path):
    root = Path(__file__).parents[2]
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "found")], cwd=root, check=False)
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / "found").exists()
    assert len(list(tmp_path.iterdir())) == 1
    export_network(small(), trained(small()).state_dict(), tmp_path / "found", ABOUT, **COMMON)
    assert [file.name for file in tmp_path.iterdir()] == ["found"]


def test_what_a_dead_export_replaced_comes_back_and_a_live_ones_draft_is_left(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    node = module.platform.node()
    for name in (f".found.{node}.{dead.pid}.old", f".found.{node}.{os.getpid()}.draft", f".found.{node}.{dead.pid}.draft"):
        (tmp_path / name).mkdir()
    (tmp_path / f".found.{node}.{dead.pid}.old" / "config.json").write_text("earlier")
    with pytest.raises(NasError, match="found exists"):
        export_network(small(), {}, tmp_path / "found", ABOUT, **COMMON)
    assert {file.name for file in tmp_path.iterdir()} == {"found", f".found.{node}.{os.getpid()}.draft"}
    assert (tmp_path / "found" / "config.json").read_text() == "earlier"
