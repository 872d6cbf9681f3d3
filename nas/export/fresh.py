"""Loads exported directories through timm in a process that can't import this package, and writes what they compute.

    python -P fresh.py JOBS.json

JOBS.json holds {"directories": [...], "threads": 1, "path": [...], "samples": FOLDER}; the path is where packages may lie, the
folder holds image files. Beside it come answers.safetensors, each directory's logits under its place in that list and, as
PLACE.pixels, what timm makes of the image files for it, and then errors.json, {"place": "the error"} of those that did not
load. What libraries print is nobody's answer. This file is a program of its own.
"""

import ast
import importlib.util
import json
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

ALLOWED = {"torch", "timm", *sys.stdlib_module_names}


class NoNas:
    """Hides this package, also where it is installed."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name.split(".")[0] == "nas":
            raise ImportError("the exported model must not need the package nas")


def answers_of(directory: Path, samples: Path) -> "tuple[Tensor, Tensor]":
    """The logits of two images `(2, 3, S, S)` that depend on S alone; and image files as timm reads them for the network."""
    import timm
    import torch

    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    if (directory / "model.py").is_file():
        refuse_foreign(directory / "model.py")
        load_stub(directory, config["architecture"])
    # made outside inference mode, in which weights that want a gradient multiply another way
    network = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    size = config["pretrained_cfg"]["input_size"][-1]
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return network(images), pixels_of(network, samples)


def pixels_of(network: "nn.Module", samples: Path) -> "Tensor":
    """Image files as timm's own data set and transform make them for a network that says how: `(N, 3, S, S)`."""
    import torch
    from timm.data import create_dataset, create_transform, resolve_data_config

    dataset = create_dataset("", root=str(samples))
    dataset.transform = create_transform(**resolve_data_config(model=network))
    return torch.stack([dataset[i][0] for i in range(len(dataset))])


def refuse_foreign(stub: Path) -> None:
    """ImportError if a model.py names anything but torch, timm and the standard library."""
    nodes = ast.walk(ast.parse(stub.read_text(encoding="utf-8")))
    named = [[node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
             for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]  # fmt: skip
    foreign = {name.split(".")[0] for names in named for name in names} - ALLOWED
    if foreign:
        raise ImportError(f"model.py must not need the package {', '.join(sorted(foreign))}")


def load_stub(directory: Path, name: str) -> None:
    """Runs a directory's model.py as its card says: under the network's own name, so that exports don't meet in a process."""
    spec = importlib.util.spec_from_file_location(name, directory / "model.py")
    assert spec is not None and spec.loader is not None, "it ends with .py"
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def look_in(path: list[str]) -> None:
    """Has packages searched in `path`, in the standard library first: a file of the user's own may be called random.py."""
    library = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")}
    library |= {entry for entry in path if Path(entry).name == "lib-dynload"}
    sys.path[:] = sorted(path, key=lambda entry: entry not in library)


def hide_this_package() -> None:
    """Makes `import nas` an error wherever it lies, also where a start-up file has imported it."""
    sys.meta_path.insert(0, NoNas())
    for name in [name for name in sys.modules if name.split(".")[0] == "nas"]:
        del sys.modules[name]


def answer(jobs: Path) -> None:
    asked = json.loads(jobs.read_text(encoding="utf-8"))
    look_in(asked["path"])
    hide_this_package()
    sys.dont_write_bytecode = True
    import torch
    from safetensors.torch import save_file

    answers: dict[str, Tensor] = {}
    errors: dict[str, str] = {}
    torch.set_num_threads(asked["threads"])
    for place, directory in enumerate(asked["directories"]):
        try:
            logits, pixels = answers_of(Path(directory), Path(asked["samples"]))
            answers |= {str(place): logits.contiguous(), f"{place}.pixels": pixels.contiguous()}
        except (Exception, SystemExit):  # whatever a model.py raises is told of that directory; the others go on
            errors[str(place)] = traceback.format_exc()
    save_file(answers, jobs.with_name("answers.safetensors"))
    jobs.with_name("errors.json").write_text(json.dumps(errors), encoding="utf-8")


if __name__ == "__main__":
    answer(Path(sys.argv[1]))
