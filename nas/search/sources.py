"""What a search learns from: trials of other runs and retrained networks, copied into its own folder when it first names them.

What a sampler makes of them must not change under a search: of a run that goes on, is moved or removed, the copy in learnt.json
is what counts, killed or not. To learn from what a source holds by now, take it out of search.learn_from and put it in again.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from nas.config.text import read_json
from nas.config.values import Value, validated
from nas.errors import ConfigError, NasError
from nas.files import at_home, write_whole
from nas.run.folder import RunFolder
from nas.run.reading import as_written, check_parts, read
from nas.run.record import UNFINISHED
from nas.run.settings.search import Search
from nas.search.samplers.history import History, Related
from nas.search.samplers.knowledge import history_of
from nas.space.architecture import Architecture
from nas.space.plugins.plugin import Plugin, plugins_of

SETTING = "search.learn_from"
LEARNT_FILE = "learnt.json"
FEWEST_POINTS = 6  # of a source in the search's space, from which on something is learnt
RESULT_FILE = "result.json"  # which a finished retraining has


class Finding(Value):
    """One network that a source trained, and what came of it."""

    architecture: Architecture
    accuracy: float = Field(ge=0, le=1)


class SourceCopy(Value):
    """What a source held when it was first named."""

    path: str
    findings: tuple[Finding, ...]
    unfinished: int = 0
    """Trials that had not ended."""


class LearntFile(Value):
    """The content of learnt.json."""

    plugins: tuple[Plugin, ...] = ()
    """Those whose mixers the networks have; none is run."""
    sources: tuple[SourceCopy, ...] = ()


class Sources(NamedTuple):
    """What a search learns from, and what is said of it."""

    related: list[Related]
    remarks: list[str]

    def history(self, search: Search) -> History:
        """What samplers read the search's trials by."""
        return history_of(search, related=self.related)


def learnt_sources(search: Search, folder: RunFolder) -> list[SourceCopy]:
    """What each source of the search held when it was first named there; ConfigError or NasError for one that cannot be read.

    Nothing is written.
    """
    written = _written(folder)
    return [written.get(path) or _read(path, folder) for path in _paths(search)]


def keep_sources(search: Search, folder: RunFolder, sources: Sequence[SourceCopy]) -> None:
    """Put them down in the run's folder, if they are not there as they are."""
    path = folder.root / LEARNT_FILE
    if sources or path.exists():
        plugins = plugins_of(
            stage for source in sources for finding in source.findings for stage in finding.architecture.stages
        )
        text = LearntFile(plugins=plugins, sources=tuple(sources)).model_dump_json(exclude=None if plugins else {"plugins"})
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write_whole(path, text)


def sources_of(search: Search, folder: RunFolder) -> Sources:
    """What a begun search learns from, as it stands in its folder."""
    written = _written(folder)
    return overlapping(search, [written[path] for path in _paths(search) if path in written])


def overlapping(search: Search, sources: Sequence[SourceCopy]) -> Sources:
    """Of each source what lies in the search's space, with the costs that this search counts."""
    related, remarks = list[Related](), list[str]()
    for source in sources:
        inside = [finding for finding in source.findings if search.space.contains(finding.architecture)]
        by_point = {json.dumps(search.space.choices(f.architecture), sort_keys=True): f for f in inside}
        able = list(by_point.values())
        waiting = f", {source.unfinished} of its trials had not ended" if source.unfinished else ""
        text = f"{SETTING}: {len(inside)} of the {len(source.findings)} trained networks of {source.path} lie in this space"
        is_enough = len(able) >= FEWEST_POINTS and len({finding.accuracy for finding in able}) > 1
        remarks.append(
            f"{text}{waiting}" + ("" if is_enough else f": too few to learn from, from {FEWEST_POINTS} different on")
        )
        if is_enough:
            related.append(_related(search, able))
    return Sources(related, remarks)


def _related(search: Search, findings: list[Finding]) -> Related:
    names, costs = search.objectives[1:], [search.cost(finding.architecture) for finding in findings]
    return Related(
        tuple(search.space.choices(finding.architecture) for finding in findings),
        tuple(tuple(float(cost.of(name)) for name in names) for cost in costs),
        tuple(finding.accuracy for finding in findings),
    )


def _paths(search: Search) -> list[str]:
    """The sources in full; two names of one place count once."""
    return list(dict.fromkeys(str(Path(at_home(path)).resolve()) for path in search.search.learn_from))


def _written(folder: RunFolder) -> dict[str, SourceCopy]:
    path = folder.root / LEARNT_FILE
    if not path.is_file():
        return {}
    return {source.path: source for source in validated(LearntFile, read_json(path), where=str(path)).sources}


def _read(path: str, folder: RunFolder) -> SourceCopy:
    root = Path(path)
    if root == folder.root.resolve():
        raise ConfigError(f"{SETTING}: must be other runs, but {path} is this one, which knows its own trials. Leave it out.")
    try:
        if RunFolder(root).search_yaml.is_file():
            return _of_run(root)
        if root.is_dir() and (results := sorted(_results(root))):
            return SourceCopy(path=path, findings=tuple(map(_of_retraining, results)))
    except NasError as error:
        raise ConfigError(f"{SETTING}: {error}") from None
    raise ConfigError(
        f"{SETTING}: must be folders of runs, or of networks that were retrained, but {path} is neither. Mend the path."
    )


def _of_run(root: Path) -> SourceCopy:
    reading = read(root)
    with as_written(reading.folder):
        check_parts(reading.records)
    finished = [record for record in reading.trials if record.is_whole and record.accuracy is not None]
    findings = [Finding(architecture=record.architecture, accuracy=record.accuracy) for record in finished]
    return SourceCopy(
        path=str(root), findings=tuple(findings), unfinished=sum(record.state in UNFINISHED for record in reading.trials)
    )


def _results(root: Path) -> Iterator[Path]:
    """Of a finished retraining, or of all that lie in one folder, as `nas retrain --front` leaves them."""
    own = root / RESULT_FILE
    yield from [own] if own.is_file() else root.glob(f"*/{RESULT_FILE}")


def _of_retraining(path: Path) -> Finding:
    written: Any = read_json(path)
    setup = written.get("setup") if isinstance(written, dict) else None
    if not isinstance(setup, dict):
        raise ConfigError(f"{path}: must be what a retraining wrote, but holds no setup. Leave its folder out.")
    facts = {"architecture": setup.get("architecture"), "accuracy": written.get("accuracy")}
    return validated(Finding, facts, where=str(path))
