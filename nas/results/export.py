"""A found model as a directory that plain timm loads: config.json, model.safetensors, model.py and a model card.

model.py carries our modules' own source, so that the directory outlives this package. Nothing is written under its final
name before a fresh process, in which this package cannot be imported, has loaded it and computed the same logits.
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from nas.errors import NasError
from nas.models import blocks, metaformer, mixers, operators
from nas.models.metaformer import MetaFormer, build
from nas.models.reparam import merge, why_not
from nas.space.architecture import Architecture
from nas.space.cost import cost
from nas.units import count, percent

SOURCES = (operators, mixers, blocks, metaformer)
SHOWN = 5  # keys named in a message


def export(
    architecture: Architecture,
    state: dict[str, Tensor],
    out: Path,
    *,
    image_size: int,
    num_classes: int,
    class_names: list[str] | None,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    provenance: dict[str, Any],
    crop_pct: float = 1.0,
    interpolation: str = "bicubic",
    force: bool = False,
) -> Path:
    """The directory `out`, which timm loads; NasError, and no directory, if timm would compute anything else than we do.

    `provenance` is JSON data about where the weights come from; the model card shows its "accuracy" (a fraction) and "split".
    `force` replaces an earlier export.
    """
    out = Path(out).absolute()
    _check_target(out, force=force)
    if class_names is not None and len(class_names) != num_classes:
        raise NasError(f"class_names must hold one name a class, {num_classes} in all, but got {len(class_names)}.")
    model = _with_weights(build(architecture, image_size=image_size, num_classes=num_classes), state)
    model, merged = merge(model, architecture)
    config = {
        **_timm_config(merged, model, mean=mean, std=std, crop_pct=crop_pct, interpolation=interpolation),
        **({"label_names": list(class_names)} if class_names is not None else {}),
        "metaformer": {
            "architecture": merged.model_dump(mode="json"),
            "cost": cost(merged, image_size=image_size, num_classes=num_classes)._asdict(),
            "provenance": provenance,
        },
    }
    _write_proven(out, {"config.json": _json(config), "model.py": stub(merged), "README.md": card(merged, config)}, model)
    return out


def _check_target(out: Path, *, force: bool) -> None:
    if not (out.exists() or out.is_symlink()):
        return
    if not force:
        raise NasError(f"the directory to export to must be new, but {out} exists; choose another or replace it with force.")
    if out.is_symlink() or not (out / "config.json").is_file():
        raise NasError(f"only an earlier export is replaced, but {out} holds no config.json; choose another directory.")


def _with_weights(model: MetaFormer, state: dict[str, Tensor]) -> MetaFormer:
    """The model with `state` in it, in eval mode; NasError names what does not fit."""
    ours = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    theirs = {key: tuple(value.shape) for key, value in state.items()}
    wrong = [
        *(f"{key} is missing" for key in ours.keys() - theirs.keys()),
        *(f"{key} is not in this architecture" for key in theirs.keys() - ours.keys()),
        *(f"{key} is {theirs[key]} instead of {ours[key]}" for key in ours.keys() & theirs.keys() if ours[key] != theirs[key]),
    ]
    if wrong:
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise NasError(
            f"the weights must be those of this architecture, but {'; '.join(sorted(wrong)[:SHOWN])}{more}. "
            "Give the architecture, image size and classes that they were trained with."
        )
    model.load_state_dict(state)
    return model.float().eval()


def _timm_config(
    architecture: Architecture, model: MetaFormer, *, mean: tuple, std: tuple, crop_pct: float, interpolation: str
) -> dict[str, Any]:
    return {
        "architecture": entrypoint(architecture),
        "num_classes": model.num_classes,
        "num_features": model.num_features,
        "global_pool": "avg",
        "pretrained_cfg": {
            "tag": "nas",
            "num_classes": model.num_classes,
            "input_size": [3, model.image_size, model.image_size],
            "fixed_input_size": model.fixed_resolution,
            "mean": list(mean),
            "std": list(std),
            "crop_pct": crop_pct,
            "interpolation": interpolation,
            "first_conv": "stem.conv",
            "classifier": "head.fc.fc2" if architecture.head == "mlp" else "head.fc",
        },
    }


def entrypoint(architecture: Architecture) -> str:
    """The name under which timm knows the exported model."""
    return f"nas_{architecture.key}"


def _json(data: Any) -> str:
    try:
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise NasError(f"provenance must be JSON data, but {error}; write paths as text and leave NaN out.") from None


STUB = '''\
"""{name}: {description}.

Importing this file registers `{name}` with timm; config.json beside it holds the architecture.
"""

{imports}

CONFIG = json.loads(Path(__file__).with_name("config.json").read_text(encoding="utf-8"))
Architecture = Stage = SimpleNamespace


{sources}


def network(
    num_classes=CONFIG["num_classes"],
    img_size=CONFIG["pretrained_cfg"]["input_size"][-1],
    drop_path_rate=0.0,
    drop_rate=0.0,
    in_chans=3,
    global_pool="avg",
):
    """The network under timm's argument names."""
    image_size = img_size if isinstance(img_size, int) else img_size[0]
    if in_chans != 3 or global_pool != "avg":
        raise ValueError(f"this model takes 3 channels and the mean over positions, but got {{in_chans=}}, {{global_pool=}}")
    architecture = json.loads(json.dumps(CONFIG["metaformer"]["architecture"]), object_hook=lambda d: SimpleNamespace(**d))
    return build(
        architecture, image_size=image_size, num_classes=num_classes, drop_path=drop_path_rate, head_dropout=drop_rate
    )


default_cfgs = generate_default_cfgs(
    {{"{name}": {{**CONFIG["pretrained_cfg"], "file": str(Path(__file__).with_name("model.safetensors"))}}}}
)


@register_model
def {name}(pretrained=False, **kwargs):
    """{description}."""
    out_indices = kwargs.pop("out_indices", tuple(range(len(CONFIG["metaformer"]["architecture"]["stages"]))))
    features = {{"out_indices": out_indices, "feature_cls": "getter"}}
    return build_model_with_cfg(network, "{name}", pretrained, feature_cfg=features, **kwargs)
'''
STUB_IMPORTS = """
import json
from pathlib import Path
from types import SimpleNamespace
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
"""


def stub(architecture: Architecture) -> str:
    """The source of model.py: our modules in one file that imports only torch, timm and the standard library."""
    sources = [Path(module.__file__).read_text(encoding="utf-8") for module in SOURCES]
    return STUB.format(
        name=entrypoint(architecture),
        description=architecture.describe(),
        imports=_imports([STUB_IMPORTS, *sources]),
        sources="\n\n\n".join(_body(source) for source in sources),
    )


def _body(source: str) -> str:
    """What follows a module's docstring, imports and type-checking block."""
    tree = ast.parse(source)
    header = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.If) or node is tree.body[0]]
    dropped = {line for node in header for line in range(node.lineno, node.end_lineno + 1)}
    return "\n".join(line for i, line in enumerate(source.splitlines(), start=1) if i not in dropped).strip()


def _imports(sources: list[str]) -> str:
    """The imports of all `sources`, each once; those for type checking and from this package are left out."""
    plain, names = set(), {}
    for node in (node for source in sources for node in ast.parse(source).body):
        if isinstance(node, ast.Import):
            plain.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] not in ("nas", "typing"):
            names.setdefault(node.module, set()).update(alias.name for alias in node.names)
    chosen = [f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names)]
    return "\n".join([*sorted(plain), *chosen])


CARD = """\
---
library_name: timm
tags: [image-classification, timm, metaformer]
---
# {name}

{description} (stages as mixer, depth and width), {image} px, {classes} classes.

{facts}

```python
import sys, timm
folder = "."  # where this file lies
sys.path.insert(0, folder)
import model  # registers {name} with timm
net = timm.create_model(f"local-dir:{{folder}}", pretrained=True)
```

`num_classes=7` gives the network a fresh classifier, `features_only=True` the maps of its stages.
Weights are float32; config.json holds the architecture, its cost and where the weights come from.
"""


def card(architecture: Architecture, config: dict[str, Any]) -> str:
    """The model card."""
    own, size = config["metaformer"], config["pretrained_cfg"]["input_size"][-1]
    spent, came_from = own["cost"], own["provenance"]
    facts = [
        f"- {count(spent['params'] + spent['frozen_params'])} parameters, {count(spent['macs'])} multiply-accumulates an image"
    ]
    if "accuracy" in came_from:
        facts.append(f"- top-1 accuracy {percent(came_from['accuracy'])} on {came_from.get('split', 'an unnamed split')}")
    facts += [
        f"- the affine mixers of stage {i} are not merged: {why_not(stage)}"
        for i, stage in enumerate(architecture.stages, start=1)
        if stage.mixer == "affine"
    ]
    return CARD.format(
        name=config["architecture"],
        description=architecture.describe(),
        image=f"{size}x{size}",
        classes=config["num_classes"],
        facts="\n".join(facts),
    )


def _write_proven(out: Path, texts: dict[str, str], model: MetaFormer) -> None:
    """Writes beside `out`, proves the round trip there, and only then gives the directory its name."""
    draft, old = (out.with_name(f".{out.name}.{os.getpid()}.{kind}") for kind in ("draft", "old"))
    draft.mkdir(parents=True)
    try:
        for name, text in texts.items():
            (draft / name).write_text(text, encoding="utf-8")
        weights = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
        save_file(weights, draft / "model.safetensors", metadata={"format": "pt"})
        _prove(draft, model.cpu())
        if out.exists():
            out.rename(old)
        draft.rename(out)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        if old.exists():
            shutil.rmtree(old) if out.exists() else old.rename(out)


# What the fresh process runs, isolated (-I): argv holds the directory, the number of threads, the image size, the logits' file.
PROOF = """
import sys
class NoNas:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "nas":
            raise ImportError("the exported model must not need the package nas")
directory, threads, size, logits = sys.argv[1:]
sys.meta_path.insert(0, NoNas())
sys.path.insert(0, directory)
sys.dont_write_bytecode = True
import timm, torch
from safetensors.torch import save_file
import model
torch.set_num_threads(int(threads))
images = torch.rand(2, 3, int(size), int(size), generator=torch.Generator().manual_seed(0))
# made outside inference mode, in which weights that want a gradient multiply another way
network = timm.create_model("local-dir:" + directory, pretrained=True).eval()
with torch.inference_mode():
    save_file({"logits": network(images)}, logits)
"""


def _prove(directory: Path, model: MetaFormer) -> None:
    """NasError unless timm, in a fresh process without this package, computes our logits bit for bit."""
    images = torch.rand(2, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(images)
    file = directory / ".logits"
    size, threads = str(model.image_size), str(torch.get_num_threads())
    command = [sys.executable, "-I", "-c", PROOF, str(directory.resolve()), threads, size, str(file.resolve())]
    fresh = subprocess.run(command, capture_output=True, text=True, check=False)
    if fresh.returncode:
        raise NasError(f"the exported model does not load in a fresh process; nothing was written:\n{fresh.stderr.strip()}")
    found = load_file(file)["logits"]
    file.unlink()
    if not torch.equal(found, expected):
        gap = (found - expected).abs().max().item()
        raise NasError(f"timm computes other logits than the network found, by up to {gap:.1e}; nothing was written.")
