"""Loads exported directories through timm in a process that can't import this package, and writes what they compute.

    python -I fresh.py JOBS.json ANSWERS.safetensors

JOBS.json holds {"directories": [...], "threads": 1}. The answers are each directory's logits under its place in that list; on
standard output stands {"place": "the error"} for those that did not load. This file is a program of its own.
"""

import ast
import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

ALLOWED = {"torch", "timm", *sys.stdlib_module_names}


class NoNas:
    """Hides this package, also where it is installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name.split(".")[0] == "nas":
            raise ImportError("the exported model must not need the package nas")


def logits_of(directory: Path) -> "Tensor":
    """The logits of two images `(2, 3, S, S)` that depend on S alone."""
    import timm
    import torch

    if (directory / "model.py").is_file():
        register(directory)
    # made outside inference mode, in which weights that want a gradient multiply another way
    network = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    size = json.loads((directory / "config.json").read_text(encoding="utf-8"))["pretrained_cfg"]["input_size"][-1]
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return network(images)


def register(directory: Path) -> None:
    """Imports model.py as its card says; ImportError if it names anything but torch, timm and the standard library."""
    nodes = ast.walk(ast.parse((directory / "model.py").read_text(encoding="utf-8")))
    named = [[node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
             for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]  # fmt: skip
    foreign = {name.split(".")[0] for names in named for name in names} - ALLOWED
    if foreign:
        raise ImportError(f"model.py must not need the package {', '.join(sorted(foreign))}")
    sys.modules.pop("model", None)
    sys.path.insert(0, str(directory))
    try:
        importlib.invalidate_caches()
        importlib.import_module("model")
    finally:
        sys.path.remove(str(directory))


def answer(jobs: str, answers: str) -> None:
    sys.meta_path.insert(0, NoNas())
    sys.dont_write_bytecode = True
    import torch
    from safetensors.torch import save_file

    asked = json.loads(Path(jobs).read_text(encoding="utf-8"))
    logits: dict[str, Tensor] = {}
    errors: dict[str, str] = {}
    torch.set_num_threads(asked["threads"])
    for place, directory in enumerate(asked["directories"]):
        try:
            logits[str(place)] = logits_of(Path(directory)).contiguous()
        except Exception:  # whatever a model.py raises is told of that directory; the others go on
            errors[str(place)] = traceback.format_exc()
    save_file(logits, answers)
    print(json.dumps(errors))


if __name__ == "__main__":
    _, jobs_file, answers_file = sys.argv
    answer(jobs_file, answers_file)
