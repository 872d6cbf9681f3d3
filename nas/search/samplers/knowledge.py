"""What a search knows of its points beforehand, their costs, and afterwards, their curves: the history that samplers read."""

import math
from collections.abc import Sequence
from functools import lru_cache, partial
from itertools import takewhile

import numpy as np
from optuna.trial import FrozenTrial

from nas.run.record import Record, TrialState, read_record
from nas.run.settings.search import Search
from nas.search.samplers.axes import Belief, Params
from nas.search.samplers.domain import key_of
from nas.search.samplers.history import History, Observation, Related
from nas.search.samplers.registry import distribution
from nas.space.costs import Cost
from nas.training.curve import Epoch

BUILT = 20_000  # architectures that need not be built twice to know their cost


def history_of(search: Search, *, related: Sequence[Related] = ()) -> History:
    """A reader of the search's trials as points, whoever proposed them, with what other searches found."""
    space, names = search.space, search.objectives[1:]

    @lru_cache(BUILT)
    def built(values: tuple) -> tuple[Cost, Params]:
        params = dict(zip(space.axes, values, strict=True))
        architecture = space.draw(lambda name, options: params[name])
        return search.cost(architecture), space.choices(architecture)

    def cost_and_choices(params: Params) -> tuple[Cost, Params]:
        return built(tuple(params[name] for name in space.axes))

    def costs(params: Params) -> tuple[float, ...] | None:
        cost, _ = cost_and_choices(params)
        return tuple(cost.of(name) for name in names) if search.constraints.allow(cost) else None

    def excess(params: Params) -> float:
        return sum(search.constraints.excess(cost_and_choices(params)[0]).values())

    return History(
        {name: distribution(options) for name, options in space.axes.items()},
        costs,
        active=lambda params: cost_and_choices(params)[1],
        excess=excess,
        early=partial(signals_at_rungs, rungs=search.proxy.rungs),
        rests=is_at_rest,
        void=is_void,
        related=related,
        belief=Belief(search.beliefs) if search.beliefs else None,
    )


def observations_of(records: Sequence[Record], search: Search, history: History) -> list[Observation]:
    """What a record knows of those trials that lie in the search's space, as samplers would read it."""
    able = [r for r in records if r.is_drawn and r.state != TrialState.REJECTED and search.space.contains(r.architecture)]
    points = [search.space.choices(record.architecture) for record in able]
    costs = [tuple(float(record.cost.of(name)) for name in search.objectives[1:]) for record in able]
    features = history.features(points, costs) if able else np.empty((0, 0))
    return [
        Observation(
            record.number,
            params,
            key_of(params),
            own,
            record.accuracy,
            record.state == TrialState.RUNNING,
            early_of(record, rungs=search.proxy.rungs),
            row,
        )
        for record, params, own, row in zip(able, points, costs, features, strict=True)
    ]


def signals_at_rungs(trial: FrozenTrial, *, rungs: tuple[int, ...]) -> list[tuple[float, ...]]:
    """What `early_of` says of one of Optuna's trials."""
    return early_of(read_record(trial), rungs=rungs)


def early_of(record: Record, *, rungs: tuple[int, ...]) -> list[tuple[float, ...]]:
    """Accuracy and losses at each rung that a trial reached; of one that failed nothing: it is bad whatever it showed."""
    if record.state == TrialState.FAILED or not rungs:
        return []
    epochs = {epoch.epoch: _signals(epoch) for epoch in record.curve}
    reached = takewhile(lambda signals: signals and all(map(math.isfinite, signals)), (epochs.get(rung, ()) for rung in rungs))
    return list(reached)


def _signals(epoch: Epoch) -> tuple[float, ...]:
    """What of an epoch foretells the final accuracy."""
    return tuple(value for value in (epoch.accuracy, epoch.loss, epoch.train_loss) if value is not None)


def is_at_rest(trial: FrozenTrial) -> bool:
    """Whether a trial waits at a rung."""
    return trial.user_attrs.get("state") == TrialState.PAUSED


def is_void(trial: FrozenTrial) -> bool:
    """Whether a trial says nothing of its architecture because it was never trained. One whose worker died each time counts as
    failed: asked for again and again it would end the search."""
    return read_record(trial).state == TrialState.REJECTED
