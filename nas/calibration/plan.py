"""What a calibration trains, as a value: which architectures, at which fidelities, against which truth."""

import math
import random
from pathlib import Path
from typing import Any, NamedTuple

from nas.calibration.ranking import FEWEST_RANKED
from nas.calibration.record import Training, rows_of
from nas.calibration.signals import UNTRAINED
from nas.config.layers import merged
from nas.config.values import Value, validated
from nas.data.manifest import Manifest
from nas.errors import ConfigError, Infeasible, shortened, unknown
from nas.papers.printed import TABLES
from nas.recipes.as_trained import as_trained, check_sizes
from nas.recipes.recipe import Proxy
from nas.run.settings.search import Search
from nas.run.settings.sections import Calibration
from nas.space.architecture import Architecture, Stage
from nas.space.constraints import check_reachable, random_architecture, repair
from nas.space.cost import cost
from nas.space.families import Scaled
from nas.space.reference import FAMILIES

SPREAD_DRAWS = 400  # random architectures of which a spread is chosen
WIDTH_STEP = 4  # channels: an eighth of the papers' attention heads
PUBLISHED = "published"


class Plan(NamedTuple):
    """A calibration before it begins: everything that can be wrong with it has been checked."""

    search: Search
    fidelities: dict[str, Proxy]
    """By name, cheapest first."""
    architectures: dict[str, Architecture]
    against: str
    truth: dict[str, float] | None
    """Accuracy by architecture where the truth comes from outside; None where it is a fidelity."""
    notes: tuple[str, ...]
    """What was left out, and why."""
    manifests: dict[str, Manifest] = {}  # noqa: RUF012 (never written to)
    """By fidelity."""
    trainings: tuple[Training, ...] = ()
    """In the order in which they run: seed by seed, cheap fidelities first."""

    @property
    def beginnings(self) -> list[Training]:
        """For each network and seed its first training, whose untrained weights are scored."""
        first = {(training.name, training.seed): training for training in reversed(self.trainings)}
        return list(reversed(first.values()))

    def work(self, training: Training) -> tuple[float, float]:
        """Images that a training passes forward and their MACs: what it is expected to take, up to two factors."""
        manifest = self.manifests[training.fidelity]
        recipe, num_classes = training.recipe, len(manifest.class_names)
        macs = cost(as_trained(training.architecture, recipe), image_size=recipe.full_size, num_classes=num_classes).macs
        images = epochs_at_full_size(recipe) * (len(manifest.train) + len(manifest.validation))
        return images, macs * images


def draft(search: Search, *, where: str) -> Plan:
    """The plan without its data; ConfigError with the dotted path where it cannot work."""
    fidelities = fidelities_of(search, where=where)
    architectures, notes = architectures_of(search)
    against = search.calibration.against or max(fidelities, key=lambda name: _cost_of(fidelities[name]))
    truth = None
    if against not in fidelities:
        truth, left_out = _truth(against, architectures, where=where, names=list(fidelities))
        architectures = {name: a for name, a in architectures.items() if name in truth}
        notes += left_out
    if len(architectures) < FEWEST_RANKED:
        raise ConfigError(
            f"{where}: calibration: must have at least {FEWEST_RANKED} different architectures to rank, but got "
            f"{len(architectures)} ({', '.join(architectures) or 'none'}). Name more designs, or raise random."
        )
    for name, recipe in fidelities.items():
        check_sizes(recipe, architectures, where=f"{where}: calibration.fidelities.{name}")
    return Plan(search, fidelities, architectures, against, truth, tuple(notes))


# Fidelities


class _Fidelities(Value):
    fidelities: dict[str, Proxy]


class _Resolved(Value):
    """Puts the user's dotted path before what is wrong with a fidelity."""

    calibration: _Fidelities


def fidelities_of(search: Search, *, where: str) -> dict[str, Proxy]:
    """The recipes to compare by name, cheapest first; ConfigError where one breaks a rule of recipes or equals another."""
    changes = search.calibration.fidelities or default_changes(search.proxy)
    for name, change in changes.items():
        if change.get("rungs"):
            raise ConfigError(
                f"{where}: calibration.fidelities.{name}.rungs: must be left out, because a calibration trains to the end, "
                f"but got {change['rungs']!r:.60}. Remove it."
            )
    laid = {name: _laid_over(search.proxy, change) for name, change in changes.items()}
    for name in {PUBLISHED, UNTRAINED} & laid.keys():
        raise ConfigError(f"{where}: calibration.fidelities: none may be called {name!r}, which has a meaning. Rename it.")
    fidelities = validated(_Resolved, {"calibration": {"fidelities": laid}}, where=where).calibration.fidelities
    for name, recipe in fidelities.items():
        twin = next((n for n, r in fidelities.items() if n != name and r == recipe), None)
        if twin:
            raise ConfigError(
                f"{where}: calibration.fidelities: must be different trainings, but {name} is {twin}. Remove one."
            )
    return dict(sorted(fidelities.items(), key=lambda pair: _cost_of(pair[1])))


def default_changes(proxy: Proxy) -> dict[str, dict[str, Any]]:
    """A quarter, half and four times the proxy's epochs, the proxy itself, and it with larger images; twins are left out."""
    wanted: dict[str, dict[str, Any]] = {
        "proxy": {},
        "half": {"epochs": max(1, proxy.epochs // 2)},
        "quarter": {"epochs": max(1, proxy.epochs // 4)},
        "long": {"epochs": 4 * proxy.epochs},
        "large": {"image_size": 8 * round(1.5 * proxy.full_size / 8)},
    }
    kept: dict[str, dict[str, Any]] = {}
    for name, change in wanted.items():
        if {**proxy.model_dump(include=set(change)), **change} not in [
            {**proxy.model_dump(include=set(change)), **other} for other in kept.values()
        ]:
            kept[name] = change
    return kept


def _laid_over(proxy: Proxy, change: dict) -> dict:
    own = proxy.model_dump(mode="json", exclude={"distillation": {"digest"}})  # what a calibration learns from need not be that
    data = merged({**own, "rungs": []}, {**change, "rungs": []})
    epochs = data["epochs"]
    if "warmup_epochs" not in change and isinstance(epochs, int) and proxy.warmup_epochs >= epochs > 0:
        data["warmup_epochs"] = proxy.warmup_epochs * epochs / proxy.epochs
    return data


def epochs_at_full_size(recipe: Proxy) -> float:
    """Epochs, those on smaller images counted by their share of the pixels."""
    return sum(recipe.size_at(epoch) ** 2 for epoch in range(1, recipe.epochs + 1)) / recipe.full_size**2


def _cost_of(recipe: Proxy) -> float:
    """Epochs x images x pixels, up to a factor where the classes or images are all there are."""
    images = (recipe.num_classes or 1000) * (recipe.images_per_class or 1000) * (1 - recipe.validation_share)
    return epochs_at_full_size(recipe) * recipe.full_size**2 * images


# Architectures


def architectures_of(search: Search) -> tuple[dict[str, Architecture], list[str]]:
    """What is trained, by name, and what was left out because it equals another."""
    settings = search.calibration
    architectures: dict[str, Architecture] = {}
    notes: list[str] = []
    spread = random_spread(search, settings.random)
    names = search.baselines if settings.designs is None else settings.designs
    if settings.designs is None and not names:
        names, notes = in_the_middle(search)
    named = [(name, search.design(name)) for name in names]
    named += [(f"random_{i:02d}", architecture) for i, architecture in enumerate(spread, start=1)]
    if len(spread) < settings.random:
        notes.append(f"{settings.random} random architectures were asked for; the space gave {len(spread)} different ones")
    for name, architecture in named:
        small = shrunk(architecture, settings)
        twin = next((n for n, other in architectures.items() if other.key == small.key), None)
        if twin:
            notes.append(f"{name} is left out: it is the same network as {twin}")
        else:
            architectures[name] = small
    return architectures, notes


def random_spread(search: Search, number: int) -> list[Architecture]:
    """Affordable random architectures, cheapest first, evenly over log MACs as far as the draws reach."""
    if number == 0:
        return []
    check_reachable(search.space, search.constraints, cost_of=search.cost)
    rng = random.Random(search.proposal_seed)
    drawn = [random_architecture(search.space, rng) for _ in range(SPREAD_DRAWS)]
    able = [a for a in drawn if search.constraints.allow(search.cost(a))]
    for other in drawn:
        if len(able) >= max(SPREAD_DRAWS // 4, number):
            break
        mended = repair(other, search.space, search.constraints, rng=rng, cost_of=search.cost)
        able += [mended] if mended else []
    return _evenly({a.key: a for a in able}, search, number)


def in_the_middle(search: Search) -> tuple[tuple[str, ...], list[str]]:
    """The name of each family's member in the middle of what the space affords, and of which families there is none."""
    low, high = (search.cost(a).macs for a in random_spread(search, 2))
    names, notes = [], []
    for family in FAMILIES:
        name = Scaled(family, int(float(f"{math.sqrt(low * high):.1e}"))).name
        try:
            search.design(name)
        except (ConfigError, Infeasible) as error:
            rule, _, _ = str(error).partition(". ")
            notes.append(f"left out: {rule}")
        else:
            names.append(name)
    return tuple(names), notes


def _evenly(pool: dict[str, Architecture], search: Search, number: int) -> list[Architecture]:
    logs = {key: math.log(search.space.cost(a).macs) for key, a in pool.items()}
    low, high, chosen = min(logs.values()), max(logs.values()), []
    for i in range(min(number, len(pool))):
        target = low + (high - low) * (i / (number - 1) if number > 1 else 0.5)
        nearest = min((key for key in logs if key not in chosen), key=lambda key: abs(logs[key] - target))
        chosen.append(nearest)
    return sorted((pool[key] for key in chosen), key=lambda a: logs[a.key])


def shrunk(architecture: Architecture, settings: Calibration) -> Architecture:
    """Depths (at least 1, rounded half up) and widths over `shrink`; widths are multiples of 4, under attention of head_dim."""
    if settings.shrink == 1:
        return architecture
    stages = tuple(_shrunk_stage(stage, settings.shrink) for stage in architecture.stages)
    return architecture.model_copy(update={"stages": stages})


def _shrunk_stage(stage: Stage, shrink: float) -> Stage:
    step = stage.head_dim or WIDTH_STEP
    width = step * max(1, math.floor(stage.width / shrink / step + 0.5))
    return Stage(**{**stage.model_dump(), "depth": max(1, math.floor(stage.depth / shrink + 0.5)), "width": width})


# The truth


def published() -> dict[str, float]:
    """ImageNet top-1 at 224 px, as the papers print it, of every design of ours that stands in one of their tables."""
    rows = (row for table in TABLES for row in table.rows if row.family == "metaformer" and row.image_size == 224)
    return {row.model: float(row.accuracy) / 100 for row in rows if row.model and row.accuracy}


def _truth(
    against: str, architectures: dict[str, Architecture], *, where: str, names: list[str]
) -> tuple[dict[str, float], list[str]]:
    if against == PUBLISHED:
        accuracies = published()
    elif against.endswith(".csv"):
        accuracies = _from_csv(Path(against))
    else:
        more = "; or give the path of a .csv file."
        raise ConfigError(
            f"{where}: calibration.against: {unknown('fidelity', against, [*names, PUBLISHED]).rstrip('.')}{more}"
        )
    missing = [name for name in architectures if name not in accuracies]
    notes = [f"left out, because {against} does not say how good they are: {', '.join(missing)}"] if missing else []
    return {name: value for name, value in accuracies.items() if name in architectures}, notes


def _from_csv(path: Path) -> dict[str, float]:
    rows = rows_of(path)
    if not rows or not {"name", "accuracy"} <= set(rows[0]):
        columns = shortened(", ".join(map(str, rows[0] if rows else ["no row"])))
        raise ConfigError(f"{path}: must have the columns name and accuracy, but has {columns}. Write `name,accuracy` first.")
    accuracies: dict[str, float] = {}
    for line, row in enumerate(rows, start=2):
        try:
            value = float(row["accuracy"])
        except (TypeError, ValueError):
            value = math.nan
        if not 0 <= value <= 1 or row["name"] in accuracies:
            raise ConfigError(
                f"{path}, line {line}: every name must stand once, with an accuracy between 0 and 1, but got "
                f"{row['name']!r:.60} with {row['accuracy']!r:.60}. Mend the line."
            )
        accuracies[row["name"]] = value
    return accuracies
