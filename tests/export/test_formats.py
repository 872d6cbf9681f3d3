"""ONNX and torch.export: what is written computes the same, and what cannot be written says why."""

import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch

from nas.errors import ConfigError, NasError
from nas.export.directory import Description, export_network
from nas.export.formats import table as module
from nas.export.formats.row import Writer
from nas.export.formats.table import WRITERS, check_formats, write_formats
from nas.export.proof import Proof
from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
from nas.space.mixers import BUILT_IN

torch.set_num_threads(1)
ALL = BUILT_IN
FURTHER = {"mlp": "conv", "se_ratio": 0.25}


def network(*mixers, stem_steps=1, **options):
    torch.manual_seed(0)
    stages = [Stage(mixer=mixer, depth=1, width=32, **options) for mixer in mixers]
    architecture = Architecture(stages=stages, stem_steps=stem_steps)
    return build(architecture, image_size=64, num_classes=5).eval()


def images(batch):
    return torch.rand(batch, 3, 64, 64, generator=torch.Generator().manual_seed(9))


@pytest.mark.parametrize("mixers", [["conv"], pytest.param(["pool", "conv", "attention", "random"], marks=pytest.mark.slow)])
def test_an_exported_program_computes_the_same_for_any_batch(mixers, tmp_path):
    net = network(*mixers, norm="group")
    write_formats(net, check_formats(["torch-export"]), tmp_path, image_size=64)
    program = torch.export.load(tmp_path / "model.pt2").module()
    with torch.inference_mode():
        torch.testing.assert_close(program(images(5)), net(images(5)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["group", "layer", "batch", "none"])
@pytest.mark.parametrize("mixer", ALL)
def test_every_mixer_and_norm_can_be_written_in_every_format(mixer, norm, tmp_path):
    write_formats(network(mixer, norm=norm), ["onnx", "torch-export"], tmp_path, image_size=64)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.pt2"]


@pytest.mark.slow
@pytest.mark.parametrize("mixers", [["linear_attention", "attention"], ["pool", "conv"]])
def test_further_blocks_can_be_written_in_every_format(mixers, tmp_path):
    write_formats(network(*mixers, stem_steps=2, **FURTHER), ["onnx", "torch-export"], tmp_path, image_size=64)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.onnx", "model.pt2"]


@pytest.mark.slow
def test_onnx_computes_the_same_for_any_batch_in_one_file(tmp_path):
    import onnxruntime

    net = network("conv", "attention")
    write_formats(net, check_formats(["timm", "onnx"]), tmp_path, image_size=64)
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [i.name for i in session.get_inputs()] == ["images"] and [o.name for o in session.get_outputs()] == ["logits"]
    for batch in (1, 2, 7):
        [found] = session.run(None, {"images": images(batch).numpy()})
        with torch.inference_mode():
            torch.testing.assert_close(torch.from_numpy(found), net(images(batch)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", module.BATCHES)
def test_a_file_that_computes_something_else_is_refused(batch, tmp_path, monkeypatch):
    net = network("identity")

    def answer(given):
        return net(given) + (2e-3 if len(given) == batch else 0)

    writer = Writer(("model.pt2",), "a test", lambda model, given, path: path.touch(), lambda path: answer, "")
    monkeypatch.setitem(module.WRITERS, "torch-export", writer)
    with pytest.raises(NasError, match=r"model\.pt2 computes other logits than the network found, by up to 2\.0e-03"):
        write_formats(net, ["torch-export"], tmp_path, image_size=64)


def test_a_format_that_fails_leaves_no_directory(tmp_path, monkeypatch):
    def ones(path):
        return lambda given: torch.ones(len(given), 5)

    writer = Writer(("model.pt2",), "a test", lambda model, given, path: path.touch(), ones, "")
    monkeypatch.setitem(module.WRITERS, "torch-export", writer)
    monkeypatch.setattr("nas.export.directory.prove", lambda expected, **_: [Proof(directory, 0.0) for directory in expected])
    architecture = Architecture(stages=[Stage(mixer="identity", depth=1, width=16)])
    state = build(architecture, image_size=64, num_classes=5).state_dict()
    about = Description(class_names=None, mean=(0.5,) * 3, std=(0.2,) * 3, provenance={})
    with pytest.raises(NasError, match=r"--format torch-export: .* computes other logits"):
        export_network(architecture, state, tmp_path / "found", about, image_size=64, num_classes=5, formats=["torch-export"])
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named_before_anything_is_done(monkeypatch):
    installed = {"onnx": "1.17.0", "onnxruntime": "1.2.0"}

    def version(name):
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(module, "version", version)
    text = r"but onnxscript is not installed, onnxruntime is 1\.2\.0, which was not tested\. .*'metaformer-nas\[onnx\]'"
    with pytest.raises(NasError, match=text):
        check_formats(["timm", "onnx"])
    assert check_formats(["timm", "torch-export", "torch-export"]) == ["torch-export"]


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        (["onnx@9"], r"onnx@9: the operator set must be a number from 18 to 23.*got '9'"),
        (["onnx@"], "got ''"),
        (["onnx@1²"], "got '1²'"),
        (["onnx@" + "9" * 400], "the operator set must be"),
        (["timm@18"], "only ONNX has operator sets"),
        (["torch-export@18"], "only ONNX has operator sets"),
        (["onnx@18", "onnx"], r"onnx@18: another format writes model\.onnx too"),
    ],
)
def test_an_operator_set_that_cannot_be_written_is_refused_before_anything_is_done(formats, message):
    with pytest.raises(ConfigError, match=f"--format: .*{message}"):
        check_formats(formats)


def test_an_operator_set_that_is_asked_for_is_written(tmp_path):
    import onnx

    write_formats(network("identity"), check_formats(["onnx@18"]), tmp_path, image_size=64)
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 18


def test_a_torch_that_writes_another_operator_set_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("nas.export.formats.onnx._opset_of", lambda path: 17)
    with pytest.raises(NasError, match=r"--format onnx@18: torch .* wrote the operator set 17"):
        write_formats(network("identity"), ["onnx@18"], tmp_path, image_size=64)


@pytest.mark.parametrize("name", WRITERS)
def test_a_format_asks_for_the_versions_that_its_extra_installs(name):
    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert list(WRITERS[name].packages) == sorted(extras.get(WRITERS[name].extra, []), key=WRITERS[name].packages.index)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_is_on_the_card_with_code_that_asks_it(name):
    writer = WRITERS[name]
    compile(writer.usage, name, "exec")
    assert f'"{writer.files[0]}"' in writer.usage and 'pixels("cat.jpg")' in writer.usage and "logits" in writer.usage
    assert (writer.load is None) == (writer.check is not None)


@pytest.mark.parametrize("name", ["openvino", "litert", "executorch", "coreml"])
@pytest.mark.parametrize(
    "mixer", [pytest.param(mixer, marks=() if mixer == "attention" else pytest.mark.slow) for mixer in ALL]
)
def test_a_converter_takes_every_mixer(name, mixer, tmp_path):
    try:
        check_formats([name])
    except NasError as error:
        pytest.skip(str(error))
    gaps = write_formats(network(mixer, norm="group"), [name], tmp_path, image_size=64)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(WRITERS[name].files)
    assert gaps[name] is None if WRITERS[name].load is None else gaps[name] < 1e-4


def test_a_converter_that_cannot_take_a_mixer_names_it_and_the_operator(tmp_path, monkeypatch):
    def write(model, given, path):
        raise RuntimeError("no lowering of aten.roll.default is registered")

    monkeypatch.setitem(WRITERS, "openvino", WRITERS["openvino"]._replace(write=write))
    with pytest.raises(
        NasError, match=r"openvino: .*can't take this network \(SepConv\): operator aten\.roll\.default, RuntimeError"
    ):
        write_formats(network("conv"), ["openvino"], tmp_path, image_size=64)
    assert not list(tmp_path.iterdir())


def test_an_unknown_format_is_refused_with_the_nearest():
    with pytest.raises(ConfigError, match="--format: unknown format 'onx'; did you mean onnx"):
        check_formats(["onx"])
