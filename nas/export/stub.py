"""The source of model.py, which registers a network with timm at levels B and C: our modules' own source in one file."""

import ast
import inspect
from collections.abc import Mapping
from typing import NamedTuple

from nas.errors import NasError
from nas.export.level import Level
from nas.models import blocks, metaformer, mixers, norms, operators, timm_classes, timm_entry
from nas.space import geometry
from nas.space.activations import ACTIVATIONS
from nas.space.architecture import Architecture
from nas.space.mixers import row_of
from nas.space.norms import NORMS
from nas.space.plugins.plugin import plugins_of

SOURCES = {
    "B": (geometry, operators, norms, timm_classes, timm_entry),
    "C": (geometry, operators, norms, mixers, blocks, metaformer, timm_entry),
}
NETWORKS = {"B": timm_classes.StagewiseMetaFormer.__name__, "C": metaformer.network_for_timm.__name__}

STUB = '''\
"""{name}: {description}.

Loading this file registers `{name}` with timm, as README.md shows; config.json beside it holds the architecture.
"""

{imports}

CONFIG = json.loads(Path(__file__).with_name("config.json").read_text(encoding="utf-8"))
ARCHITECTURE = json.loads(json.dumps(CONFIG["metaformer"]["architecture"]), object_hook=lambda d: SimpleNamespace(**d))
Architecture = Stage = SimpleNamespace
{tables}


def row_of(stage):
    """The row of a stage's mixer."""
    return MIXERS[stage.mixer]

{plugins}
{sources}


default_cfgs = generate_default_cfgs(
    {{"{name}": {{**CONFIG["pretrained_cfg"], "file": str(Path(__file__).with_name("model.safetensors"))}}}}
)


def {name}(pretrained=False, **kwargs):
    """{description}."""
    return made_by_timm({network}, ARCHITECTURE, "{name}", pretrained, **kwargs)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # loaded again, or for other weights of this architecture, it may take its own place
    register_model({name})
'''
PLUGGED = '''

def _module(name, source):
    """A plugin's source, which stands below as it was searched with, as a module of its own."""
    module = sys.modules[f"nas_plugin_{{name}}"] = ModuleType(f"nas_plugin_{{name}}")
    exec(compile(source, f"{{__file__}}: plugin {{name}}", "exec"), module.__dict__)
    return module


def plugin_class(name, plugin):
    return PLUGINS[plugin].MIXERS[name]["module"]


PLUGINS = {{}}{sources}
'''
PLUGGED_IMPORTS = "import sys\nfrom types import ModuleType"
STUB_IMPORTS = """
import json
import warnings
from pathlib import Path
from types import SimpleNamespace
from timm.models import generate_default_cfgs, register_model
"""


def stub(architecture: Architecture, level: Level) -> str:
    """The source of model.py, one file that imports only torch, timm and the standard library."""
    sources, plugins = [inspect.getsource(module) for module in SOURCES[level.letter]], _plugins(architecture)
    return STUB.format(
        name=level.entrypoint,
        description=architecture.describe(),
        imports=_imports([STUB_IMPORTS, *([PLUGGED_IMPORTS] if plugins else []), *sources]),
        tables=_tables(architecture),
        plugins=plugins,
        sources="\n\n\n".join(_body(source) for source in sources),
        network=NETWORKS[level.letter],
    )


def _tables(architecture: Architecture) -> str:
    """The rows of the tables of mixers, norms and activations that the network's modules ask, as source."""
    stages = architecture.stages
    rows = {stage.mixer: row_of(stage) for stage in stages}
    tables = {
        "MIXERS": _rows(rows, set(rows)),
        "NORMS": _rows(NORMS, {"layer", "none", *(stage.norm for stage in stages)}),  # the stem has either
        "ACTIVATIONS": _rows(ACTIVATIONS, {stage.activation for stage in stages}),
    }
    return "\n".join(f"{name} = {{{rows}}}" for name, rows in tables.items())


def _plugins(architecture: Architecture) -> str:
    """The source of the plugins whose mixers the network has, each run as a module of its own; nothing where it has none."""
    plugins = plugins_of(architecture.stages)
    for plugin in plugins:
        if plugin.foreign:
            raise NasError(
                f"{plugin.file}: an exported network carries its plugins and must need torch, timm and the standard library "
                f"only, but this one imports {', '.join(plugin.foreign)}. Write it without, and begin a new search."
            )
    sources = "".join(f"\nPLUGINS[{p.digest!r}] = _module({p.digest!r}, {_literal(p.source)})" for p in plugins)
    return PLUGGED.format(sources=sources) if plugins else ""


def _literal(source: str) -> str:
    """A text as a raw string that can be read, where Python allows that."""
    raw = f"r'''{source}'''"
    try:
        return raw if ast.literal_eval(raw) == source else repr(source)
    except (SyntaxError, ValueError):
        return repr(source)


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
            needed = {ast.unparse(alias) for alias in node.names} - {"TYPE_CHECKING"}
            if node.module.split(".")[0] != "nas" and needed:
                names.setdefault(node.module, set()).update(needed)
    chosen = [f"from {module} import {', '.join(sorted(names[module]))}" for module in sorted(names)]
    return "\n".join([*sorted(plain), *chosen])
