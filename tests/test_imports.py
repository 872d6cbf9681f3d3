"""The order of packages: a file imports from its own package and from those before it, and nowhere do imports make a circle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = (
    "nas", "nas.passwords", "nas.errors", "nas.callbacks", "nas.units", "nas.files", "nas.shipped", "nas.config", "nas.pareto",
    "nas.colours", "nas.terminal", "nas.cores", "nas.spreadsheets",
    "nas.space", "nas.recipes", "nas.models", "nas.data", "nas.devices", "nas.export", "nas.papers", "nas.training",
    "nas.run", "nas.cluster", "nas.search", "nas.calibration", "nas.results", "nas.report", "nas.winners", "nas.retraining",
    "nas.quantization", "nas.interface", "nas.cli", "nas.__main__",
)  # fmt: skip
MOST_FILES = 13  # of a package, subpackages counted for themselves
ONLY_IN = {
    "ray": ("nas.cluster", "nas.search.tune", "nas.search.loggers", "nas.retraining.launch"),
    "optuna": ("nas.run", "nas.search", "nas.report.importance"),
}


def _modules() -> dict[str, Path]:
    names = {}
    for path in sorted((ROOT / "nas").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


MODULES = _modules()


def _imports(path: Path) -> set[str]:
    """The modules that a file imports, those for type checking left out, those within functions included."""
    imports, tree = set(), ast.parse(path.read_text())
    guarded = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    typing_only = [n for block in guarded for n in ast.walk(block)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node not in typing_only:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            imports |= {name for name in below if name in MODULES} or {node.module or ""}
    return imports


def _place(name: str) -> int:
    """Where in the order the package of a module stands."""
    return max(i for i, package in enumerate(ORDER) if name == package or (i and name.startswith(f"{package}.")))


def test_every_module_has_a_place_in_the_order_and_every_package_in_it_exists():
    assert all(package in MODULES for package in ORDER)
    assert all(name == "nas" or _place(name) for name in MODULES)


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"nas"}))
def test_a_file_imports_from_its_own_package_and_from_those_before_it(name):
    assert {other for other in _imports(MODULES[name]) if other in MODULES and _place(other) > _place(name)} == set()


def test_no_imports_make_a_circle():
    """Modules are taken away that import none of those left; in the end there are none left, unless they make a circle."""
    left = {name: {other for other in _imports(path) if other in MODULES} - {name} for name, path in MODULES.items()}
    while free := [name for name, others in left.items() if not others & set(left)]:
        for name in free:
            del left[name]
    assert not left


def test_no_package_has_outgrown_its_reader():
    sizes = {}
    for path in MODULES.values():
        sizes[path.parent] = sizes.get(path.parent, 0) + (path.name != "__init__.py")
    assert {str(folder.relative_to(ROOT)): n for folder, n in sizes.items() if n > MOST_FILES} == {}


@pytest.mark.parametrize("library", ONLY_IN)
def test_ray_and_optuna_are_imported_where_they_belong_only(library):
    users = {name for name, path in MODULES.items() if any(i.split(".")[0] == library for i in _imports(path))}
    assert {name for name in users if not f"{name}.".startswith(tuple(f"{place}." for place in ONLY_IN[library]))} == set()


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("nas.cli.main", {"torch", "ray", "optuna", "timm", "pandas", "pydantic"}),
        ("nas.winners.lookup", {"torch", "ray", "optuna", "timm", "pandas"}),
        ("nas.run.dry_run", {"torch", "ray", "optuna", "timm", "pandas"}),
        ("nas.search.tune", {"optuna"}),
        ("nas.search.run", {"torch", "timm"}),
        ("nas.training.remote", {"torch", "ray", "optuna", "timm"}),
    ],
)
def test_light_files_import_nothing_heavy(module, absent):
    code = f"import {module}, sys; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
