"""A run and everything that its report shows, worked out once."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from nas.errors import NasError
from nas.report.importance import by_stage_and_mixer, effects, importances
from nas.results.comparable import differences_that_matter, refuse
from nas.results.course import volumes
from nas.results.front import joined
from nas.results.points import require_finished
from nas.results.standing import Standing, standing
from nas.results.trials import with_choices
from nas.run.front import reference_costs
from nas.run.reading import Reading, read
from nas.run.settings.search import Search

SWITCHED = ("macs", "params", "activation_bytes")  # counted costs between which a reader of the page can switch


class Findings(NamedTuple):
    """A run and what was found out about it."""

    reading: Reading
    standing: Standing
    courses: dict[str, pd.DataFrame]
    """Hypervolume as trainings end, of the run first, then of those laid beside it."""
    importances: pd.DataFrame
    effects: pd.DataFrame
    mixers: pd.DataFrame
    beside: dict[str, pd.DataFrame]
    """The trials of the runs laid beside it, by the same names as their courses."""

    @property
    def search(self) -> Search:
        """The run's settings."""
        return self.reading.search

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial."""
        return self.standing.trials

    @property
    def best(self) -> pd.DataFrame:
        """The front, cheapest first."""
        return self.standing.best

    @property
    def cost(self) -> str:
        """The first cost that the search weighed."""
        return self.search.objectives[1]

    @property
    def other_costs(self) -> list[str]:
        """Further costs that the front can be drawn against: counted, foretold on devices, measured."""
        measured = [name for name in ("latency_ms", "latency_int8_ms") if self.trials[name].notna().any()]
        return [c for c in (*SWITCHED, *self.search.sizes, *self.search.foretold, *measured) if c != self.cost]

    @property
    def course(self) -> pd.DataFrame:
        """Hypervolume as this run's trainings ended."""
        return next(iter(self.courses.values()))


def work_out(root: Path, *, against: tuple[Path, ...] = ()) -> Findings:
    """Everything the report shows; NasError for a run without a finished trial, or one that can't be laid beside another."""
    reading = read(root)
    trials, search = with_choices(joined([reading])), reading.search
    require_finished(trials, (root,))
    costs, reference = search.objectives[1:], reference_costs(search)
    beside: dict[str, pd.DataFrame] = {}
    for other in against:
        if other.resolve() == root.resolve():
            raise NasError(f"--against {other}: must be another run, but is the one that is reported. Leave it out.")
        second = read(other)
        refuse(reading, second, differences_that_matter(reading, second))
        name = f"{other.resolve().name} ({second.search.sampler})"
        beside[str(other) if name in beside else name] = joined([second])
    courses = {name: volumes(each, costs, reference) for name, each in {root.resolve().name: trials, **beside}.items()}
    return Findings(
        reading,
        standing(trials, costs),
        courses,
        importances(trials, search),
        effects(trials, search),
        by_stage_and_mixer(trials, search),
        beside,
    )
