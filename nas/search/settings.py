"""A whole search as a value: what one YAML file says."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from nas.config import Value, broken, read_yaml, validated, with_settings
from nas.errors import unknown
from nas.space.constraints import Constraints
from nas.space.reference import designs
from nas.space.search_space import SearchSpace
from nas.training.recipe import Proxy

Objective = Literal["accuracy", "macs", "params", "activation_bytes"]
Sampler = Literal["tpe", "random", "nsga2", "front"]


class SearchSettings(Value):
    """How many architectures are trained, and who proposes them."""

    trials: Annotated[int, Field(ge=1)] = 40
    """Architectures to train besides the baselines; one stopped early counts, one answered from the record does not."""
    sampler: Sampler = "tpe"
    start: tuple[str, ...] = ()
    """Reference designs whose nearest affordable architectures in the space are trained first."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seeds the proposals, the split of the data and every training alike."""
    storage: str | None = None
    """An Optuna storage URL; without one the record is study.db in the run's folder."""


class Resources(Value):
    """Where trials run and what each of them gets."""

    address: str | None = None
    """A running Ray cluster ("auto" or host:port); without one a local Ray is started."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Trials at once; without a number as many as the cores or the shares of GPUs allow."""
    cpu: Annotated[float, Field(gt=0)] = 1
    gpu: Annotated[float, Field(ge=0)] = 0
    """GPUs a trial, such as 0.25 for four trials a card; 0 trains on the CPU."""


class Search(Value):
    """A search: space, limits, objectives, baselines, budget, proxy training and machines."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    space: SearchSpace
    constraints: Constraints = Constraints()
    objectives: tuple[Objective, ...] = ("accuracy", "macs")
    baselines: tuple[str, ...] = ()
    search: SearchSettings = SearchSettings()
    proxy: Proxy = Proxy()
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _consistent(self) -> "Search":
        costs = self.objectives[1:]
        if self.objectives[:1] != ("accuracy",) or len(costs) not in (1, 2) or len(set(costs)) != len(costs):
            raise broken("objectives", f"must be accuracy, then one or two different costs, but got {list(self.objectives)}")
        if self.search.sampler == "front" and len(costs) != 1:
            raise broken("search.sampler", f"front takes accuracy and one cost, but got {len(costs)} costs; use tpe or nsga2")
        for path, kind, names in (("baselines", "baseline", self.baselines), ("search.start", "design", self.search.start)):
            for name in names:
                if name not in designs():
                    raise broken(path, unknown(kind, name, designs()).rstrip("."))
        if len(set(self.baselines)) != len(self.baselines):
            raise broken("baselines", f"must be different designs, but got {list(self.baselines)}")
        return self


def read_search(path: Path, *, settings: list[str] = ()) -> Search:
    """The search in a YAML file with each "a.b=value" of `settings` laid over it."""
    where = f"{path} (with --set)" if settings else str(path)
    return validated(Search, with_settings(read_yaml(path), list(settings)), where=where)
