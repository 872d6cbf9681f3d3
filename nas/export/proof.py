"""Proof that an exported directory is the network that was found: a fresh process without this package computes its logits."""

import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from nas.errors import NasError
from nas.export import fresh

ROUNDING = 1e-4  # of the largest logit: what merging a norm, or timm's operators instead of our faster ones, may change
PIXEL_ROUNDING = 1e-4  # in deviations; one step of 255 is 0.017
CAUSE_SHOWN = 4000  # characters of what a process wrote before it died, the last ones


Seen = Callable[[Sequence[Path], int], Tensor]
"""What a network was judged by: image files, and the size that they are brought to, as `(N, 3, size, size)`."""


class Proof(NamedTuple):
    """What a fresh process made of one directory."""

    directory: Path
    difference: float | None
    """Largest difference of two logits, 0.0 only if all bits are equal; None if it did not load."""
    error: str | None = None
    pixels: float | None = None
    """Largest difference of what timm makes of image files to what the network was judged by; None where that was not asked."""


def proof_logits(model: nn.Module, *, image_size: int) -> Tensor:
    """The logits `(2, num_classes)` of the two images that every proof looks at."""
    images = torch.rand(2, 3, image_size, image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model(images)


def rounding(before: Tensor, written: Tensor) -> float:
    """The largest difference of what is written to what was found; NasError where it is more than rounding, or no number."""
    gap = (before - written).abs().max().item()
    if not gap <= ROUNDING * max(1.0, before.abs().max().item()):  # not for NaN either
        raise NasError(
            f"the network to write must compute the logits of the one found, but they differ by up to {gap:.1e}. "
            "If that is nan, the training diverged: retrain it with a lower lr."
        )
    return gap


def prove(expected: dict[Path, Tensor], *, seen: Seen | None = None) -> list[Proof]:
    """What one fresh process computes in each directory, beside the logits expected there; NasError if the process dies.

    With `seen`, what timm makes there of image files of every usual kind stands beside what the networks were judged by.
    """
    with tempfile.TemporaryDirectory() as scratch:
        samples = Path(scratch) / "samples"
        files = write_samples(samples / "all")
        directories = [str(directory.resolve()) for directory in expected]
        jobs = {
            "directories": directories,
            "threads": torch.get_num_threads(),
            "path": packages_path(),
            "samples": str(samples),
        }
        errors, answers = _answers(jobs, Path(scratch))
        proofs = []
        for i, (directory, wanted) in enumerate(expected.items()):
            if str(i) in errors:
                proofs.append(Proof(directory, None, errors[str(i)]))
                continue
            theirs = answers[f"{i}.pixels"]
            gap = None if seen is None else _gap(theirs, seen(files, theirs.shape[-1]))
            proofs.append(Proof(directory, _gap(answers[str(i)], wanted), None, gap))
    return proofs


def write_samples(folder: Path) -> list[Path]:
    """Image files of every usual kind and shape in a folder, in the order of their names."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 256, (90, 130, 3), dtype=np.uint8)).resize((260, 180), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x0112] = 6  # EXIF: turn it by 90 degrees
    alpha = noise.copy()
    alpha.putalpha(noise.getchannel(0))
    samples: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "photo.jpg": (noise, {"quality": 90}), "tall.png": (noise.rotate(90, expand=True), {}),
        "grey.png": (noise.convert("L"), {}), "grey_alpha.png": (alpha.convert("LA"), {}), "alpha.png": (alpha, {}),
        "cmyk.jpg": (noise.convert("CMYK"), {}), "palette.png": (noise.convert("P"), {}),
        "bits.png": (noise.convert("1"), {}), "turned.jpg": (noise, {"exif": turned}), "small.png": (noise.resize((9, 7)), {}),
        "even.png": (noise.resize((64, 64)), {}), "odd.png": (noise.crop((0, 0, 101, 67)), {}),
    }  # fmt: skip
    for name, (image, options) in samples.items():
        image.save(folder / name, **options)
    return sorted(folder.iterdir())


def packages_path() -> list[str]:
    """Where this process finds packages, in words that mean the same in every folder.

    A new process would look in fewer places: scripts and notebooks add their own. The current folder, which a notebook asks
    first and after its own packages were imported, comes last.
    """
    entries = [entry for entry in sys.path if isinstance(entry, str)]
    return [_absolute(entry) for entry in sorted(entries, key=lambda entry: entry == "")]


def _absolute(entry: str) -> str:
    """An entry of sys.path without the current folder in it; a word that only an import hook understands stays as it is."""
    first = Path(entry).parts[:1]
    return os.path.abspath(entry) if not first or os.path.exists(first[0]) else entry


def _answers(jobs: dict[str, Any], scratch: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The errors and logits that a fresh process leaves in an empty folder."""
    program = scratch / "fresh.py"
    program.write_text(inspect.getsource(fresh), encoding="utf-8")  # this package may lie in a zip file
    (scratch / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    command = [sys.executable, "-P", "-W", "ignore", str(program), str(scratch / "jobs.json")]
    process = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if not (scratch / "errors.json").is_file():  # written last; a library may still fail while Python ends
        why = process.stderr.decode(errors="replace").strip()[-CAUSE_SHOWN:]
        raise NasError(f"the fresh process that proves exports ended with {process.returncode}:\n{why}")
    return json.loads((scratch / "errors.json").read_text(encoding="utf-8")), load_file(scratch / "answers.safetensors")


def _gap(logits: Tensor, wanted: Tensor) -> float:
    if torch.equal(logits, wanted):
        return 0.0
    return (logits - wanted).abs().max().item() if logits.shape == wanted.shape else float("inf")


def refuse_unproven(proof: Proof) -> None:
    """NasError unless timm computed the same logits bit for bit."""
    if proof.error is not None:
        raise NasError(f"the exported model does not load in a fresh process; nothing was written:\n{proof.error.strip()}")
    if proof.difference != 0:
        raise NasError(
            f"timm computes other logits than the network found, by up to {proof.difference:.1e}; nothing was written."
        )
    if proof.pixels is not None and not proof.pixels <= PIXEL_ROUNDING:
        raise NasError(
            "timm makes other pixels of image files than those that the network was judged by, by up to "
            f"{proof.pixels:.1e} of a deviation; nothing was written. Is another version of timm or Pillow installed?"
        )
