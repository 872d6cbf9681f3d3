"""A network in int8: what is written, what stays in float, what is refused, and what a run's record holds of it."""

import errno
import io
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from rich.console import Console

from nas.config.text import read_json
from nas.data.draw import list_manifest
from nas.errors import ConfigError, NasError
from nas.models.metaformer import build
from nas.quantization import directory, front, quantise
from nas.quantization.command import check_asked, quantise_one
from nas.quantization.front import quantise_front
from nas.quantization.images import shown_images
from nas.quantization.quantise import FLOAT_FILE, INT8_FILE, Int8Plan, network_parts
from nas.quantization.subject import subject_of
from nas.recipes.full import FullRecipe
from nas.report.terminal import show_front
from nas.results.front import load
from nas.retraining.loader import seen_by_loader
from nas.run.reading import read
from nas.space.architecture import Architecture, Stage
from tests.hostile.inputs import best
from tests.hostile.world import make_world
from tests.images import class_folders, picture

QUIET = Console(file=io.StringIO(), width=200)
FEW = 16


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A run with the weights of one trial, a retraining, an export."""
    return make_world(tmp_path_factory.mktemp("int8") / "world")


@pytest.fixture(scope="module")
def subject(world):
    return subject_of(world / f"run:{best(world)}", data=None, console=QUIET)


@pytest.fixture(scope="module")
def exported(subject, tmp_path_factory):
    """The float file of the subject, which takes seconds to write."""
    folder = tmp_path_factory.mktemp("float")
    quantise.write_formats(subject.network, ["onnx"], folder, image_size=subject.image_size)
    return folder / FLOAT_FILE


@pytest.fixture(autouse=True)
def quickly(request, monkeypatch):
    """The float file is copied, and little is timed."""
    if "exported" in request.fixturenames:
        source = request.getfixturevalue("exported")
        monkeypatch.setattr(
            quantise, "write_formats", lambda network, names, folder, **_: shutil.copy(source, folder / FLOAT_FILE)
        )
    for module in (directory, front):
        monkeypatch.setattr(module, "SECONDS_A_FILE", 0.05)
    torch.set_num_threads(1)


def quantised(target, out, **changes):
    console = Console(file=io.StringIO(), width=300)
    options = {"data": None, "images": FEW, "force": False, **changes}
    quantise_one(target, out, Int8Plan(), console, **options)
    return console.file.getvalue()


@pytest.mark.thorough
def test_a_network_is_written_in_both_with_what_it_costs_and_gains(world, subject, exported, tmp_path):
    text = quantised(world / f"run:{best(world)}", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == directory.WRITTEN_HERE
    facts = read_json(tmp_path / "out" / "quantization.json")
    assert (
        facts["split"] == "validation" and facts["calibration_images"] == FEW and facts["num_bytes_int8"] < facts["num_bytes"]
    )
    kinds = {node.op_type for node in onnx.load(tmp_path / "out" / INT8_FILE).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
    assert "in float" in text and f"in int8, on {facts['judged_images']} validation images" in text
    right = 0
    session = onnxruntime.InferenceSession(tmp_path / "out" / INT8_FILE)
    for images, labels in subject.shown(FEW).judged.chunks(torch.device("cpu")):
        [logits] = session.run(None, {"images": images.contiguous().numpy()})
        right += int((logits.argmax(axis=1) == labels.numpy()).sum())
    assert facts["accuracy_int8"] == right / facts["judged_images"]


def test_the_page_reads_files_as_the_network_was_judged_by_them(world, exported, tmp_path, monkeypatch):
    quantised(world / f"run:{best(world)}", tmp_path / "out")
    code = (tmp_path / "out" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    picture(tmp_path / "out" / "cat.jpg", size=(50, 40))
    monkeypatch.chdir(tmp_path / "out")
    names: dict[str, object] = {}
    exec(code, names)
    assert names["logits"].shape == (1, 10) and names["pixels"]("cat.jpg").dtype == np.float32


def test_parts_that_hurt_stay_in_float_the_worst_first_until_enough_answers_stay(subject, exported, tmp_path, monkeypatch):
    changed = iter([0.5, 0.4, 0.0])
    monkeypatch.setattr(quantise, "_changed", lambda logits, wanted: next(changed))
    made = quantise.quantise(subject.network, subject.shown(FEW), tmp_path, Int8Plan())
    parts = network_parts(exported)
    assert len(made.in_float) == 2 and set(made.in_float) <= set(parts) and made.changed == 0.0
    integers = onnx.load(tmp_path / INT8_FILE)
    fed = {name for node in integers.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    kept = {node for part in made.in_float for node in parts[part]}
    products = [node for node in integers.graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    assert {node.name for node in products if not fed & set(node.input)} == {n.name for n in products if n.name in kept}


def test_every_product_of_a_network_is_in_one_of_its_parts(exported):
    nodes = [node.name for node in onnx.load(exported).graph.node if node.op_type in ("Conv", "MatMul", "Gemm")]
    parts = [name for names in network_parts(exported).values() for name in names]
    assert set(nodes) <= set(parts) and len(parts) == len(set(parts))


def test_all_operators_makes_sums_integers_as_well(subject, exported, tmp_path):
    def inputs_of_sums(every: bool) -> set[str]:
        quantise.quantise(subject.network, subject.shown(FEW), tmp_path, Int8Plan(most_changed=1.0, every_operator=every))
        graph = onnx.load(tmp_path / INT8_FILE).graph
        return {name for node in graph.node if node.op_type == "Add" for name in node.input if "DequantizeLinear" in name}

    assert len(inputs_of_sums(True)) > len(inputs_of_sums(False))


@pytest.mark.parametrize("images", [0, 15, 33, 10**6])
def test_too_few_or_too_many_calibration_images_are_refused(world, images, tmp_path):
    with pytest.raises(ConfigError, match=rf"--images: must be 16 at least, and at most half .* but got {images}\."):
        quantised(world / f"run:{best(world)}", tmp_path / "out", images=images)
    assert not list(tmp_path.iterdir())


def test_an_export_is_quantised_by_the_images_it_was_trained_on(world, exported, tmp_path):
    text = quantised(world / "exported", tmp_path / "out", data="digits")
    assert "mind: digits is not, or not drawn as, what" in text  # this export's origin names no manifest
    with pytest.raises(ConfigError, match=r"says of no images that it was trained on.* with --data"):
        quantised(world / "exported", tmp_path / "other")


def test_an_export_with_other_classes_than_the_data_is_refused(world, tmp_path):
    data = class_folders(tmp_path / "images", images=12)
    with pytest.raises(ConfigError, match=r"--data: must have the 10 classes of .* which begin with 0, but .* has 3"):
        quantised(world / "exported", tmp_path / "out", data=str(data))
    assert not (tmp_path / "out").exists()


def test_an_export_that_was_tampered_with_is_refused(world, tmp_path):
    shutil.copytree(world / "exported", tmp_path / "exported")
    weights = tmp_path / "exported" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ConfigError, match="must hold the weights that were exported"):
        quantised(tmp_path / "exported", tmp_path / "out", data="digits")
    assert not (tmp_path / "out").exists()


def test_a_retraining_without_held_out_images_is_judged_by_the_test_images_it_has_read(world):
    shown = subject_of(world / "trained", data=None, console=QUIET).shown(FEW)
    assert shown.split == "test"


def test_a_retraining_by_a_loader_is_shown_what_its_evaluation_reads(tmp_path):
    data = class_folders(tmp_path / "images", images=40)
    recipe = FullRecipe(data=str(data), image_size=32, loader={"workers": 0, "test_crop": 0.9}, validation_share=0.2)
    manifest = list_manifest(recipe, seed=0)
    shown = shown_images(manifest, recipe, image_size=32, number=FEW)
    assert shown.calibration.shape == (FEW, 3, 32, 32) and shown.split == "validation"
    files = [data / name for name, _ in manifest.validation]
    judged = torch.cat([images for images, _ in shown.judged.chunks(torch.device("cpu"))])
    torch.testing.assert_close(judged, seen_by_loader(recipe, files, 32))


@pytest.mark.parametrize(
    ("target", "changes", "message"),
    [
        ("run", {}, "is a search's folder. Say which network"),
        ("run:99", {}, "has no trial 99"),
        ("images", {}, "is neither a run nor a finished retraining"),
        ("nowhere", {}, "nowhere"),
        ("run:BEST", {"data": "digits"}, "--data: is for an export"),
    ],
)
def test_what_names_no_network_is_refused_with_the_way_out(world, tmp_path, target, changes, message):
    with pytest.raises(NasError, match=message):
        quantised(world / target.replace("BEST", best(world)), tmp_path / "out", **changes)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_leaves_nothing_behind(world, exported, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(quantise, "write_int8", full)
    with pytest.raises(NasError, match="must be writable, but: No space left on device"):
        quantised(world / f"run:{best(world)}", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_only_an_earlier_quantisation_is_replaced_and_only_when_asked(world, exported, tmp_path):
    target, out = world / f"run:{best(world)}", tmp_path / "out"
    quantised(target, out)
    with pytest.raises(NasError, match=r"holds an earlier quantisation. Choose another, or replace it with --force"):
        quantised(target, out)
    quantised(target, out, force=True)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(NasError, match="and nothing else"):
        quantised(target, out, force=True)
    assert (out / "mine.txt").read_text() == "mine"


def test_options_that_do_not_go_together_are_refused():
    for asked in ({"out": Path("x"), "data": None}, {"out": None, "data": "digits"}):
        with pytest.raises(ConfigError, match="--front: writes into the run's record"):
            check_asked(Path("run"), front=True, is_one=False, most_changed=1.0, **asked)
    with pytest.raises(ConfigError, match="--out: must name the directory"):
        check_asked(Path("run:3"), out=None, front=False, is_one=False, data=None, most_changed=1.0)
    with pytest.raises(ConfigError, match="--most-changed: must be a share of 100, but got nan"):
        check_asked(Path("run:3"), out=Path("x"), front=False, is_one=False, data=None, most_changed=float("nan"))


def test_a_machine_too_noisy_is_told_and_costs_no_result(world, exported, tmp_path, monkeypatch):
    def noisy(*_: object, **__: object) -> None:
        raise NasError("this machine is too noisy to measure")

    monkeypatch.setattr(directory, "times_of_files", noisy)
    assert "not timed: this machine is too noisy" in quantised(world / f"run:{best(world)}", tmp_path / "out")
    assert read_json(tmp_path / "out" / "quantization.json")["latency_int8_ms"] is None


@pytest.fixture
def own_run(world, tmp_path):
    shutil.copytree(world / "run", tmp_path / "run")
    return tmp_path / "run"


def test_a_front_is_quantised_into_the_record_once_and_is_shown(world, own_run, exported, monkeypatch):
    def shown(**options: object) -> str:
        console = Console(file=io.StringIO(), width=300)
        show_front((own_run,), console, **options)
        return console.file.getvalue()

    with pytest.raises(NasError, match=r"must hold networks in int8, but none was .*quantize .* --front"):
        shown(int8=True)
    monkeypatch.setattr(front, "members", lambda root: [Member({"trial": int(best(world))}), Member({"trial": lacking(world)})])
    console = Console(file=io.StringIO(), width=300)
    quantise_front(own_run, Int8Plan(), console, images=FEW)
    text = console.file.getvalue()
    assert (
        f"1 networks quantised, 0 were in the record; without weights in this run, and so left out: trials {lacking(world)}"
        in text
    )
    assert "int8: 1 networks lose" in text and "in int8" in text
    row = load(own_run).set_index("trial").loc[int(best(world))]
    assert 0 <= row["accuracy_int8"] <= 1
    assert "in int8" in shown()
    quantise_front(own_run, Int8Plan(), console, images=FEW)
    assert "0 networks quantised, 1 were in the record" in console.file.getvalue()
    assert len([each for each in read(own_run).additions if each.kind == "int8"]) == 1


class Member:
    """As the front's selection names a network."""

    def __init__(self, origin: dict[str, int]):
        self.origin = origin


def lacking(world) -> int:
    """A complete trial whose weights were not kept."""
    trials = load(world / "run")
    complete = trials[trials["state"] == "complete"]["trial"]
    return int(next(number for number in complete if number != int(best(world))))


def test_a_record_whose_int8_is_no_share_is_refused(own_run):
    from nas.run.additions import additions
    from nas.run.record import NotWritten

    value = {"accuracy": 0.5, "accuracy_int8": 7, "latency_int8_ms": None, "measured": "now"}
    with pytest.raises(NotWritten, match="trial 3: int8"):
        additions({"int8 3 abc": json.loads(json.dumps(value))})


@pytest.mark.slow
def test_further_blocks_can_be_quantised_and_are_parts_by_name(subject, tmp_path):
    stage = {"depth": 1, "width": 16, "head_dim": 8, "mlp": "conv", "se_ratio": 0.25}
    stages = tuple(Stage(mixer=mixer, **stage) for mixer in ("linear_attention", "attention"))
    torch.manual_seed(0)
    network = build(Architecture(stages=stages, stem_steps=2), image_size=subject.image_size, num_classes=10).eval()
    made = quantise.quantise(network, subject.shown(FEW), tmp_path, Int8Plan(most_changed=1.0))
    kinds = ("mixers", "squeeze-and-excitation", "channel MLPs")
    assert {f"{kind} of stage {i}" for kind in kinds for i in (1, 2)} <= set(network_parts(tmp_path / FLOAT_FILE))
    assert made.in_float == () and made.num_bytes_int8 < made.num_bytes
    assert {node.op_type for node in onnx.load(tmp_path / INT8_FILE).graph.node} >= {"QuantizeLinear", "Sigmoid"}


def test_a_front_and_one_of_its_networks_are_not_asked_for_together():
    with pytest.raises(ConfigError, match="--front: one choice at a time"):
        check_asked(Path("run"), out=None, front=True, is_one=True, data=None, most_changed=1.0)
