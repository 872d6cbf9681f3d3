"""How the code reads, as far as that can be counted: what a name says, how often it stands, how long a function is."""

import ast
from collections import defaultdict
from pathlib import Path
from statistics import median

import pytest

PACKAGE = Path(__file__).parents[1] / "nas"
MODULES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
FUNCTIONS = [
    (module, node)
    for module, tree in MODULES.items()
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
]
SAYS_NOTHING = {"told", "found", "known", "given", "begun", "ended"}  # alone: the thing is missing
VERBS = {"cost", "front"}  # commands are called as they are typed
LONGEST = 40


def assigned(tree: ast.AST) -> set[str]:
    """Names that are given a meaning: variables, attributes, arguments, functions and classes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
    return names


@pytest.mark.parametrize("module", MODULES)
def test_no_name_is_a_participle_alone(module):
    assert not {name for name in assigned(MODULES[module]) if name.strip("_") in SAYS_NOTHING}


def defined(tree: ast.Module) -> set[str]:
    """What a module gives others by name: its constants, functions and classes."""
    targets = [t for node in tree.body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in tree.body if isinstance(node, ast.AnnAssign)]
    constants = {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return constants | {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_a_public_name_stands_for_one_thing():
    places = defaultdict(list)
    for module, tree in MODULES.items():
        for name in defined(tree):
            places[name].append(module)
    twice = {name: modules for name, modules in places.items() if len(modules) > 1 and not name.startswith("_")}
    assert set(twice) <= VERBS, twice


def test_no_variable_hides_a_function_that_its_own_function_calls():
    hidden = []
    for module, tree in MODULES.items():
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
        imported = {a.asname or a.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names}
        hidden += [
            f"{module}: {function.name}: {name}"
            for place, function in FUNCTIONS
            if place == module
            for name in {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            if name in functions | imported
        ]
    assert hidden == []


def test_functions_are_short():
    lengths = {(module, f.name): f.end_lineno - f.lineno + 1 for module, f in FUNCTIONS}
    assert {place: length for place, length in lengths.items() if length > LONGEST} == {}
    assert median(lengths.values()) < 10
