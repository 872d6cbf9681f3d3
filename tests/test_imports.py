"""The house's order: a file imports only from its own wing's earlier files and from the wings before it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = [
    "nas", "nas.errors", "nas.units", "nas.files", "nas.config",
    "nas.space", "nas.space.architecture", "nas.space.cost", "nas.space.counting", "nas.space.reference",
    "nas.space.printed", "nas.space.search_space", "nas.space.constraints",
    "nas.models", "nas.models.operators", "nas.models.mixers", "nas.models.blocks", "nas.models.metaformer",
    "nas.models.reparam", "nas.models.timm_classes", "nas.models.timm_models", "nas.models.latency",
    "nas.training", "nas.training.recipe", "nas.training.full_recipe", "nas.training.as_trained",
    "nas.training.processes", "nas.training.decoding", "nas.training.cache", "nas.training.archives",
    "nas.training.checkpoints", "nas.training.allocator",
    "nas.training.source", "nas.training.class_folders", "nas.training.timm_data", "nas.training.sources",
    "nas.training.inspection", "nas.training.data", "nas.training.augment", "nas.training.loss", "nas.training.batches",
    "nas.training.loaded", "nas.training.streams", "nas.training.full_data", "nas.training.trained",
    "nas.training.distill", "nas.training.evaluation", "nas.training.optimizer", "nas.training.loop",
    "nas.training.proxy", "nas.training.retraining_folder", "nas.training.retrain", "nas.training.launch",
    "nas.search", "nas.search.pareto", "nas.search.rungs", "nas.search.settings", "nas.search.folder",
    "nas.search.record", "nas.search.attempts", "nas.search.stopping", "nas.search.trainings",
    "nas.search.calibration_plan", "nas.search.calibration_bar", "nas.search.journal", "nas.search.patient_storage",
    "nas.search.storage", "nas.search.additions", "nas.search.driver", "nas.search.axes", "nas.search.domain",
    "nas.search.history", "nas.search.point_sampler", "nas.search.gain", "nas.search.gaussian_process",
    "nas.search.foresight", "nas.search.front_sampler", "nas.search.evolution_sampler", "nas.search.sampler",
    "nas.search.book", "nas.search.study", "nas.search.progress", "nas.search.cluster", "nas.search.loggers",
    "nas.search.tune", "nas.search.decoding_bar", "nas.search.remote", "nas.search.run", "nas.search.calibration",
    "nas.search.replicates",
    "nas.results", "nas.results.dry_run", "nas.results.ranking", "nas.results.fidelities", "nas.results.trust",
    "nas.results.calibration_picture", "nas.results.calibrate", "nas.results.reading",
    "nas.results.comparable", "nas.results.latencies",
    "nas.results.noise", "nas.results.trials", "nas.results.points", "nas.results.front", "nas.results.listing",
    "nas.results.labelling", "nas.results.front_axes", "nas.results.pictures", "nas.results.front_table",
    "nas.results.course", "nas.results.importance", "nas.results.advice", "nas.results.compare", "nas.results.findings",
    "nas.results.figures", "nas.results.page_text", "nas.results.page", "nas.results.ending", "nas.results.replication",
    "nas.results.lookup", "nas.results.chosen", "nas.results.event_log", "nas.results.retraining_bar",
    "nas.results.retrained", "nas.results.retraining", "nas.results.export_level", "nas.results.export_stub",
    "nas.results.export_card", "nas.results.export_formats", "nas.results.export_fresh", "nas.results.export_proof",
    "nas.results.export_hub", "nas.results.export", "nas.results.tables", "nas.results.timing", "nas.results.gradcam",
    "nas.cli", "nas.cli.app", "nas.cli.searching", "nas.cli.reading", "nas.cli.winners", "nas.cli.designs",
    "nas.cli.main", "nas.__main__",
]  # fmt: skip
ONLY_IN = {
    "ray": {"nas.training.launch", "nas.search.cluster", "nas.search.loggers", "nas.search.tune"},
    "optuna": {
        "nas.search.journal", "nas.search.patient_storage", "nas.search.storage", "nas.search.driver", "nas.search.axes",
        "nas.search.domain", "nas.search.history", "nas.search.point_sampler", "nas.search.sampler", "nas.search.book",
        "nas.search.study", "nas.results.importance",
    },
}  # fmt: skip


def _modules() -> dict[str, Path]:
    names = {}
    for path in sorted((ROOT / "nas").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def _imports(path: Path) -> set[str]:
    found, tree = set(), ast.parse(path.read_text())
    guarded = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    typing_only = [n for block in guarded for n in ast.walk(block)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node not in typing_only:
            found |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_every_file_stands_in_the_order_and_every_name_in_it_exists():
    assert sorted(_modules()) == sorted(ORDER)


@pytest.mark.parametrize("name", ORDER[1:])
def test_a_file_imports_only_what_stands_before_it(name):
    assert not _imports(_modules()[name]) & set(ORDER[ORDER.index(name) :])


@pytest.mark.parametrize("library", ONLY_IN)
def test_ray_and_optuna_are_imported_where_they_belong_only(library):
    users = {n for n, path in _modules().items() if any(i.split(".")[0] == library for i in _imports(path))}
    assert users == ONLY_IN[library]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("nas.cli.main", {"torch", "ray", "optuna", "timm", "pandas", "pydantic"}),
        ("nas.results.lookup", {"torch", "ray", "optuna", "timm", "pandas"}),
        ("nas.results.dry_run", {"torch", "ray", "optuna", "timm", "pandas"}),
        ("nas.search.tune", {"optuna"}),
        ("nas.search.run", {"torch", "timm"}),
        ("nas.search.remote", {"torch", "ray", "optuna", "timm"}),
    ],
)
def test_light_files_import_nothing_heavy(module, absent):
    code = f"import {module}, sys; print(*sorted({absent!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
