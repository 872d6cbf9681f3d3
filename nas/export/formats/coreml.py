"""Core ML, for Apple's devices, by Apple's converter. Its runtime is part of macOS: elsewhere only the file is checked."""

from pathlib import Path

import torch
from torch import Tensor, nn

from nas.errors import NasError
from nas.export.formats.row import Writer


def write_coreml(model: nn.Module, images: Tensor, path: Path) -> None:
    """A folder, for one image at a time, in float32; for iOS 16 and macOS 13 on."""
    import coremltools

    with torch.no_grad():
        program = torch.export.export(model, (images[:1],)).run_decompositions({})
    package = coremltools.convert(
        program, inputs=[coremltools.TensorType(name="images", shape=images[:1].shape)],
        outputs=[coremltools.TensorType(name="logits")], compute_precision=coremltools.precision.FLOAT32,
        minimum_deployment_target=coremltools.target.iOS16, skip_model_load=True,
    )  # fmt: skip
    package.save(str(path))


def check_coreml(path: Path, logits: Tensor) -> None:
    """NasError unless the package reads back as a network of one image to as many logits."""
    import coremltools

    description = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec().description
    names = ([entry.name for entry in description.input], [exit_.name for exit_ in description.output])
    shape = tuple(description.output[0].type.multiArrayType.shape)
    if names != (["images"], ["logits"]) or shape != (1, logits.shape[1]):
        raise NasError(f"--format coreml: {path.name} reads back as {names} with logits {shape}. Leave this format out.")


_USAGE = """\
import coremltools  # on macOS

logits = coremltools.models.MLModel("model.mlpackage").predict({"images": pixels("cat.jpg")})["logits"]"""
COREML = Writer(
    ("model.mlpackage",), "the network for Core ML, one image at a time; written without a Mac, its logits were not compared",
    write_coreml, None, _USAGE, ("coremltools>=9.0,<10",), "coreml", check_coreml,
)  # fmt: skip
