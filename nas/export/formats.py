"""An exported network in other formats, each by the public tool for it and checked before it counts as written."""

import logging
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import ConfigError, NasError, unknown
from nas.models.plain import with_plain_pooling

Format = Literal["timm", "onnx", "torch-export"]
TOLERANCE = 1e-4  # of a logit, relative to those above 1
BATCHES = (1, 3)  # the network is traced with 2 images
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Writer(NamedTuple):
    """A format's file, who writes it, who computes logits with it, and the packages that this takes."""

    file: str
    write: Callable[[nn.Module, Tensor, Path], None]
    run: Callable[[Path, Tensor], Tensor]
    packages: tuple[str, ...] = ()


def check_formats(formats: Sequence[str]) -> list[str]:
    """The formats to write beside timm's, each once; ConfigError for an unknown one, NasError where a package is missing."""
    for name in formats:
        if name not in get_args(Format):
            raise ConfigError(f"--format: {unknown('format', name, get_args(Format))}")
    chosen = [name for name in dict.fromkeys(formats) if name in WRITERS]
    for name in chosen:
        missing = [package for package in WRITERS[name].packages if find_spec(package) is None]
        if missing:
            raise NasError(
                f"--format {name} needs {', '.join(WRITERS[name].packages)}, but {', '.join(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} not installed. Install them: pip install {' '.join(missing)}"
            )
    return chosen


def write_formats(model: nn.Module, formats: Sequence[str], directory: Path, *, image_size: int) -> None:
    """Writes each format's file; NasError unless reading it back gives the same logits to 1e-4, for several batch sizes."""
    for name in formats:
        writer = WRITERS[name]
        writer.write(with_plain_pooling(model), _images(2, image_size), directory / writer.file)
        for batch in BATCHES:
            images = _images(batch, image_size)
            with torch.inference_mode():
                wanted = model(images)
            logits = writer.run(directory / writer.file, images)
            if not torch.allclose(logits, wanted, rtol=TOLERANCE, atol=TOLERANCE):
                gap = (logits - wanted).abs().max().item()
                raise NasError(
                    f"--format {name}: {writer.file} computes other logits than the network found, by up to {gap:.1e}; nothing "
                    "was written. Leave this format out, or try another version of its packages."
                )


def _images(batch: int, image_size: int) -> Tensor:
    return torch.rand(batch, 3, image_size, image_size, generator=torch.Generator().manual_seed(batch))


def _write_onnx(model: nn.Module, images: Tensor, path: Path) -> None:
    quiet = logging.getLogger("torch.onnx")
    before = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter's own inner workings
            torch.onnx.export(
                model, (images,), str(path), dynamo=True, external_data=False, verbose=False, dynamic_shapes=_any_batch(),
                input_names=["images"], output_names=["logits"],
            )  # fmt: skip
    finally:
        quiet.setLevel(before)


def _run_onnx(path: Path, images: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return torch.from_numpy(np.asarray(session.run(["logits"], {"images": images.numpy()})[0]))


def _write_program(model: nn.Module, images: Tensor, path: Path) -> None:
    with torch.no_grad():
        torch.export.save(torch.export.export(model, (images,), dynamic_shapes=_any_batch()), path)


def _run_program(path: Path, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.export.load(path).module()(images)


def _any_batch() -> tuple[dict, ...]:
    return ({0: torch.export.Dim("batch")},)


WRITERS = {
    "onnx": Writer("model.onnx", _write_onnx, _run_onnx, ONNX_PACKAGES),
    "torch-export": Writer("model.pt2", _write_program, _run_program),
}
