"""One network in int8: the file, what stays in float so that its answers stay, and what it costs and gains."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from nas.devices.conditions import Conditions
from nas.devices.int8 import prepare_int8, write_int8
from nas.devices.measure import alone_here, seconds_of
from nas.devices.rounds import Budget, Timed, in_turns
from nas.devices.runtimes import check_onnx_runtime, file_pass, session_of
from nas.export.formats.table import write_formats
from nas.quantization.images import CPU, ShownImages

FLOAT_FILE, INT8_FILE = "model.onnx", "model_int8.onnx"
BATCH = 32  # images that are computed at once
SCOPES = "pkg.torch.onnx.name_scopes"  # under which torch's exporter says which module a node comes from
PART = re.compile(r"'stages\.(\d+)\.(?:(downsample)|blocks\.\d+\.(token_mixer|se|mlp))'|'(stem|head)'")
WORDS = {"downsample": "downsampling", "token_mixer": "mixers", "se": "squeeze-and-excitation", "mlp": "channel MLPs"}
Parts = Mapping[str, tuple[str, ...]]
"""By parts of a network, such as "channel MLPs of stage 3", the names of their nodes."""


class Int8Plan(NamedTuple):
    """How networks are quantised and timed."""

    most_changed: float = 0.01
    """Share of the checked images whose answer may be another; where it is more, the parts that hurt most stay in float."""
    every_operator: bool = False
    """Whether sums, scales and activations are integers as well, as accelerators that are slow in float need it."""
    threads: int | None = 1
    """Of the CPU, while times are measured."""

    def conditions(self, image_size: int) -> Conditions:
        """Under which times are measured: one image at a time."""
        return Conditions(runtime="onnxruntime-int8", batch=1, image_size=image_size, threads=self.threads)


class Quantised(NamedTuple):
    """What became of a network."""

    accuracy: float
    """In float, a fraction of the judged images."""
    accuracy_int8: float
    agreement: float
    """Share of the judged images to which both give the same answer."""
    in_float: tuple[str, ...]
    """Parts that hurt and stayed in float, the worst first."""
    changed: float
    """Share of the checked training images whose answer is another than in float."""
    num_bytes: int
    num_bytes_int8: int

    @property
    def points_lost(self) -> float:
        """Of top-1, in points of a hundred."""
        return 100 * (self.accuracy - self.accuracy_int8)


def quantise(network: nn.Module, shown: ShownImages, folder: Path, plan: Int8Plan) -> Quantised:
    """Writes the network in float and in int8 into an existing folder; NasError where ONNX can't hold it."""
    check_onnx_runtime(plan.conditions(shown.calibration.shape[-1]))
    write_formats(network, ["onnx"], folder, image_size=shown.calibration.shape[-1])
    return quantise_file(folder, shown, plan)


def quantise_file(folder: Path, shown: ShownImages, plan: Int8Plan) -> Quantised:
    """The same of a folder that has the file in float."""
    source, prepared, target = folder / FLOAT_FILE, folder / "prepared.onnx", folder / INT8_FILE
    prepare_int8(source, prepared)
    in_float, changed = _write_agreeing(prepared, target, shown, plan, parts=network_parts(source))
    prepared.unlink()
    accuracy, accuracy_int8, agreement = _judged_both(source, target, shown)
    sizes = source.stat().st_size, target.stat().st_size
    return Quantised(accuracy, accuracy_int8, agreement, in_float, changed, *sizes)


def _write_agreeing(
    prepared: Path, target: Path, shown: ShownImages, plan: Int8Plan, *, parts: Parts
) -> tuple[tuple[str, ...], float]:
    """Writes the network in int8 with as few parts in float as leave its answers alone: those parts, and what still changed."""
    batches = shown.calibration.split(BATCH)
    write = partial(write_int8, prepared, target, batches, every_operator=plan.every_operator)
    wanted = _logits(prepared, shown.checked)
    write()
    changed = _changed(_logits(target, shown.checked), wanted)
    if changed <= plan.most_changed:
        return (), changed
    in_float: list[str] = []
    errors = _errors_alone(parts, write, lambda: _logits(target, shown.checked) - wanted)
    for part in sorted(parts, key=lambda part: -errors[part]):
        in_float.append(part)
        write(in_float=_nodes(parts, in_float))
        changed = _changed(_logits(target, shown.checked), wanted)
        if changed <= plan.most_changed:
            break
    return tuple(in_float), changed


def network_parts(source: Path) -> Parts:
    """The nodes of an exported network by the part that they belong to; residual sums and the norms of blocks are in none."""
    parts: dict[str, list[str]] = {}
    for node in onnx.load(str(source)).graph.node:
        scopes = next((entry.value for entry in node.metadata_props if entry.key == SCOPES), "")
        if match := PART.search(scopes):
            stage, *kinds, end = match.groups()
            kind = next((WORDS[kind] for kind in kinds if kind), "")
            parts.setdefault(end or f"{kind} of stage {int(stage) + 1}", []).append(node.name)
    return {part: tuple(names) for part, names in parts.items()}


def _errors_alone(parts: Parts, write: Callable[..., None], errors: Callable[[], np.ndarray]) -> dict[str, float]:
    """How much each part hurts: the mean squared error of the logits where it alone is in int8."""
    alone = {}
    for part in parts:
        write(in_float=_nodes(parts, [name for name in parts if name != part]))
        alone[part] = float((errors() ** 2).mean())
    return alone


def _nodes(parts: Parts, names: list[str]) -> list[str]:
    return [node for name in names for node in parts[name]]


def _changed(logits: np.ndarray, wanted: np.ndarray) -> float:
    """Share of the images whose likeliest class is another."""
    return float((logits.argmax(axis=1) != wanted.argmax(axis=1)).mean())


def _logits(path: Path, images: Tensor) -> np.ndarray:
    """What a file computes for images, `(N, classes)`."""
    session = session_of(path, Conditions())
    return np.concatenate([session.run(None, {"images": piece.numpy()})[0] for piece in images.split(BATCH)])


def _judged_both(source: Path, target: Path, shown: ShownImages) -> tuple[float, float, float]:
    """Top-1 in float and in int8, and how often both answer the same, over all judged images."""
    sessions, counts, number = [session_of(path, Conditions()) for path in (source, target)], np.zeros(3), 0
    for images, labels in shown.judged.chunks(CPU):
        feed = {"images": images.contiguous().numpy()}
        before, after = (session.run(None, feed)[0].argmax(axis=1) for session in sessions)  # each (B,)
        counts += [(before == labels.numpy()).sum(), (after == labels.numpy()).sum(), (before == after).sum()]
        number += len(labels)
    accuracy, accuracy_int8, agreement = counts / number
    return float(accuracy), float(accuracy_int8), float(agreement)


def times_of_files(files: Mapping[str, Path], plan: Int8Plan, *, image_size: int, seconds: float) -> dict[str, Timed]:
    """What each ONNX file takes for one image on this machine's CPU, in turns; NasError where it is too noisy to tell."""
    conditions, image = plan.conditions(image_size), torch.zeros(1, 3, image_size, image_size)
    with alone_here():
        passes = {name: file_pass(path, image, conditions) for name, path in files.items()}
        clocks = {name: partial(seconds_of, run, conditions) for name, run in passes.items()}
        return in_turns(clocks, Budget(seconds=seconds))
