"""The table of formats: which there are, whether one can be written here, and the proof of each file."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from packaging.requirements import Requirement
from torch import Tensor, nn

from nas.errors import ConfigError, NasError, in_one_line, shortened, unknown
from nas.export.formats.coreml import COREML
from nas.export.formats.executorch import EXECUTORCH
from nas.export.formats.litert import LITERT
from nas.export.formats.onnx import ONNX, OPSETS, write_onnx
from nas.export.formats.openvino import OPENVINO
from nas.export.formats.row import LoadedNetwork, Writer
from nas.export.formats.torch_export import TORCH_EXPORT
from nas.models.plain import with_plain_pooling

SET = "@"  # before the number of ONNX's operator set
TIMM_FILES = "timm"  # whose files every export has
TOLERANCE = 1e-4  # of a logit, relative to those above 1
BATCHES = (1, 16)  # the network is traced with 2 images
OPERATOR = re.compile(r"\b(?:aten|prims|torch|com\.microsoft)(?:::|\.)[A-Za-z_][\w.]*")

WRITERS = {
    "onnx": ONNX,
    "torch-export": TORCH_EXPORT,
    "openvino": OPENVINO,
    "litert": LITERT,
    "executorch": EXECUTORCH,
    "coreml": COREML,
}


def check_formats(formats: Sequence[str]) -> list[str]:
    """The formats to write beside timm's, each once; ConfigError for an unknown one, NasError where a package is missing or of
    a version that it was not tested with. ONNX may be asked for with an operator set, as in onnx@19."""
    for name in formats:
        plain, mark, _ = name.partition(SET)
        if plain not in (names := (TIMM_FILES, *WRITERS)):
            raise ConfigError(f"--format: {unknown('format', name, names)}")
        if mark and plain != "onnx":
            raise ConfigError(f"--format: {name}: only ONNX has operator sets, as in onnx{SET}{OPSETS[0]}. Write {plain}.")
    chosen = [name for name in dict.fromkeys(formats) if name != TIMM_FILES]
    for name in chosen:
        needed = writer_of(name)
        wrong = [problem for package in needed.packages if (problem := _problem(Requirement(package)))]
        if wrong:
            raise NasError(
                f"--format {name} needs {', '.join(needed.packages)}, but {', '.join(wrong)}. Install the extra: pip "
                f"install 'metaformer-nas[{needed.extra}]'"
            )
        _check_set(name)
    files = [writer_of(name).files[0] for name in chosen]
    if twice := next((name for name, file in zip(chosen, files, strict=True) if files.count(file) > 1), None):
        raise ConfigError(f"--format: {twice}: another format writes {writer_of(twice).files[0]} too. Choose one of them.")
    return chosen


def writer_of(name: str) -> Writer:
    """The row of a format, which writes the operator set that its name may hold."""
    plain, _, opset = name.partition(SET)
    return WRITERS[plain] if not opset.isdecimal() else WRITERS[plain]._replace(write=partial(write_onnx, opset=int(opset)))


def _check_set(name: str) -> None:
    """ConfigError for an operator set that can't be written."""
    _, mark, opset = name.partition(SET)
    if mark and not (opset.isascii() and opset.isdecimal() and int(opset) in OPSETS):
        raise ConfigError(
            f"--format: {name}: the operator set must be a number from {OPSETS[0]} to {OPSETS[-1]}, which torch's exporter "
            f"writes, but got {shortened(opset)!r}."
        )


def _problem(needed: Requirement) -> str:
    """What is wrong with an installed package; empty where nothing is."""
    try:
        installed = version(needed.name)
    except PackageNotFoundError:
        return f"{needed.name} is not installed"
    is_tested = needed.specifier.contains(installed, prereleases=True)
    return "" if is_tested else f"{needed.name} is {installed}, which was not tested"


def write_formats(model: nn.Module, formats: Sequence[str], directory: Path, *, image_size: int) -> dict[str, float | None]:
    """Writes each format's files; by format the largest difference of a logit, None where no runtime could be asked.

    NasError for a network that a converter can't take, and unless reading a file back gives the same logits to 1e-4, for
    several batch sizes.
    """
    plain = with_plain_pooling(model)
    return {name: _written(name, writer_of(name), model, plain, directory, image_size) for name in formats}


def _written(name: str, writer: Writer, model: nn.Module, plain: nn.Module, directory: Path, image_size: int) -> float | None:
    path = directory / writer.files[0]
    try:
        with _silence():
            writer.write(plain, _images(2, image_size), path)
    except (OSError, NasError):
        raise
    except Exception as error:  # converters raise whatever their operators do
        raise NasError(
            f"--format {name}: its converter can't take this network ({_mixers(model)}): {_cause(error)}. Nothing was written. "
            "Leave this format out."
        ) from None
    if writer.check is not None:
        with torch.inference_mode():
            writer.check(path, model(_images(1, image_size)))
    if writer.load is None:
        return None
    answer = writer.load(path)
    return max(_gap(f"--format {name}: {path.name}", answer, model, _images(batch, image_size)) for batch in BATCHES)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keeps off the screen what converters say of their inner workings."""
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _gap(file: str, answer: LoadedNetwork, model: nn.Module, images: Tensor) -> float:
    """How far a file's logits are from torch's; NasError where that is more than rounding."""
    with torch.inference_mode():
        wanted = model(images)
    logits = answer(images)
    gap = (logits - wanted).abs().max().item()
    if not torch.allclose(logits, wanted, rtol=TOLERANCE, atol=TOLERANCE):
        raise NasError(
            f"{file} computes other logits than the network found, by up to {gap:.1e}; nothing was written. "
            "Leave this format out, or try another version of its packages."
        )
    return gap


def _mixers(model: nn.Module) -> str:
    """The mixers of a network by the names of their modules."""
    kinds = [type(m.token_mixer).__name__ for m in model.modules() if isinstance(getattr(m, "token_mixer", None), nn.Module)]
    return ", ".join(dict.fromkeys(kinds)) or "no mixers"


def _cause(error: Exception) -> str:
    """The operators that an error names, then the error itself."""
    operators = list(dict.fromkeys(OPERATOR.findall(str(error))))[:3]
    return f"{f'operator {operators[0]}, ' if operators else ''}{type(error).__name__}: {in_one_line(error).rstrip('.')}"


def _images(batch: int, image_size: int) -> Tensor:
    return torch.rand(batch, 3, image_size, image_size, generator=torch.Generator().manual_seed(batch))
