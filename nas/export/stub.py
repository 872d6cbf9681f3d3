"""The source of model.py, which registers a network with timm at levels B and C: our modules' own source in one file."""

import ast
import inspect
from collections.abc import Mapping
from typing import NamedTuple

from nas.export.level import Level
from nas.models import blocks, metaformer, mixers, norms, operators, timm_classes
from nas.space import geometry
from nas.space.activations import ACTIVATIONS
from nas.space.architecture import Architecture
from nas.space.mixers import MIXERS
from nas.space.norms import NORMS

SOURCES = {"B": (geometry, norms, timm_classes), "C": (geometry, operators, norms, mixers, blocks, metaformer)}

STUB = '''\
"""{name}: {description}.

Loading this file registers `{name}` with timm, as README.md shows; config.json beside it holds the architecture.
"""

{imports}

CONFIG = json.loads(Path(__file__).with_name("config.json").read_text(encoding="utf-8"))
ARCHITECTURE = json.loads(json.dumps(CONFIG["metaformer"]["architecture"]), object_hook=lambda d: SimpleNamespace(**d))
Architecture = Stage = SimpleNamespace
{tables}


{sources}


{network}


default_cfgs = generate_default_cfgs(
    {{"{name}": {{**CONFIG["pretrained_cfg"], "file": str(Path(__file__).with_name("model.safetensors"))}}}}
)


@register_model
def {name}(pretrained=False, **kwargs):
    """{description}."""
    features = {{"out_indices": kwargs.pop("out_indices", tuple(range(len(ARCHITECTURE.stages)))), "feature_cls": "getter"}}
    return build_model_with_cfg({maker}, "{name}", pretrained, feature_cfg=features, **kwargs)
'''
STUB_IMPORTS = """
import json
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
"""

TIMMS_NETWORK = '''\
def network(num_classes=CONFIG["num_classes"], **kwargs):
    """The network under timm's argument names."""
    return StagewiseMetaFormer(ARCHITECTURE, num_classes=num_classes, **kwargs)'''

OUR_NETWORK = '''\
def network(
    pretrained,
    num_classes=CONFIG["num_classes"],
    img_size=CONFIG["pretrained_cfg"]["input_size"][-1],
    drop_path_rate=0.0,
    drop_rate=0.0,
    in_chans=3,
    global_pool="avg",
):
    """The network under timm's argument names."""
    image_size = img_size if isinstance(img_size, int) else img_size[0]
    stored = CONFIG["pretrained_cfg"]
    if in_chans != 3 or global_pool != "avg":
        raise ValueError(f"this model takes 3 channels and the mean over positions, but got {in_chans=}, {global_pool=}")
    if pretrained and stored["fixed_input_size"] and image_size != stored["input_size"][-1]:
        raise ValueError(
            f"the weights belong to the positions of {stored['input_size'][-1]} px images, but got {img_size=}; "
            "leave img_size out, or train anew with pretrained=False"
        )
    return build(
        ARCHITECTURE, image_size=image_size, num_classes=num_classes, drop_path=drop_path_rate, head_dropout=drop_rate
    )'''
NETWORKS = {"B": (TIMMS_NETWORK, "network"), "C": (OUR_NETWORK, "partial(network, pretrained)")}


def stub(architecture: Architecture, level: Level) -> str:
    """The source of model.py, one file that imports only torch, timm and the standard library."""
    sources = [inspect.getsource(module) for module in SOURCES[level.letter]]
    network, maker = NETWORKS[level.letter]
    return STUB.format(
        name=level.entrypoint,
        description=architecture.describe(),
        imports=_imports([STUB_IMPORTS, *sources]),
        tables=_tables(architecture),
        sources="\n\n\n".join(_body(source) for source in sources),
        network=network,
        maker=maker,
    )


def _tables(architecture: Architecture) -> str:
    """The rows of the tables of mixers, norms and activations that the network's modules ask, as source."""
    stages = architecture.stages
    tables = {
        "MIXERS": _rows(MIXERS, {stage.mixer for stage in stages}),
        "NORMS": _rows(NORMS, {"layer", *(stage.norm for stage in stages)}),  # the stem and the head have a layer norm
        "ACTIVATIONS": _rows(ACTIVATIONS, {stage.activation for stage in stages}),
    }
    return "\n".join(f"{name} = {{{rows}}}" for name, rows in tables.items())


def _rows(table: Mapping[str, NamedTuple], used: set[str]) -> str:
    rows = {name: {k: v for k, v in table[name]._asdict().items() if not callable(v)} for name in table if name in used}
    return ", ".join(f"{name!r}: SimpleNamespace(**{row!r})" for name, row in rows.items())


def _body(source: str) -> str:
    """What follows a module's docstring, imports and type-checking block."""
    tree = ast.parse(source)
    header = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.If) or node is tree.body[0]]
    dropped = {line for node in header for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)}
    return "\n".join(line for i, line in enumerate(source.splitlines(), start=1) if i not in dropped).strip()


def _imports(sources: list[str]) -> str:
    """The imports of all `sources`, each once; those for type checking and from this package are left out."""
    plain: set[str] = set()
    names: dict[str, set[str]] = {}
    for node in (node for source in sources for node in ast.parse(source).body):
        if isinstance(node, ast.Import):
            plain.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "this package has no relative imports"
            if node.module.split(".")[0] not in ("nas", "typing"):
                names.setdefault(node.module, set()).update(map(ast.unparse, node.names))
    chosen = [f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names)]
    return "\n".join([*sorted(plain), *chosen])
