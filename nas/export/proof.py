"""Proof that an exported directory is the network that was found: a fresh process without this package computes its logits."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from nas.errors import NasError
from nas.export import fresh

ROUNDING = 1e-4  # of the largest logit: what merging a norm, or timm's operators instead of our faster ones, may change


class Proof(NamedTuple):
    """What a fresh process made of one directory."""

    directory: Path
    difference: float | None
    """Largest difference of two logits, 0.0 only if all bits are equal; None if it did not load."""
    error: str | None = None


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


def prove(expected: dict[Path, Tensor]) -> list[Proof]:
    """What one fresh process computes in each directory, beside the logits expected there; NasError if the process dies."""
    with tempfile.TemporaryDirectory() as scratch:
        jobs, answers = Path(scratch) / "jobs.json", Path(scratch) / "answers.safetensors"
        directories = [str(directory.resolve()) for directory in expected]
        jobs.write_text(json.dumps({"directories": directories, "threads": torch.get_num_threads()}), encoding="utf-8")
        command = [sys.executable, "-I", fresh.__file__, str(jobs), str(answers)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            raise NasError(f"the fresh process that proves exports ended with {process.returncode}:\n{process.stderr.strip()}")
        errors, logits = json.loads(process.stdout.splitlines()[-1]), load_file(answers)
    return [
        Proof(directory, None, errors[str(i)]) if str(i) in errors else Proof(directory, _gap(logits[str(i)], wanted))
        for i, (directory, wanted) in enumerate(expected.items())
    ]


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
