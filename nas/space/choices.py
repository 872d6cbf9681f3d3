"""What a person writes in `space:` for a stage or a network: one choice, a list of them or a range of integers."""

from types import GenericAlias
from typing import Annotated, Any, Optional, get_type_hints

from pydantic import BeforeValidator, create_model, model_validator

from nas.config.values import OpenValue, Value, broken
from nas.errors import shortened
from nas.space.architecture import Architecture, Stage, settings_of_stages
from nas.space.mixers import plugin_options

MOST_CHOICES = 10_000  # of one setting


def _expanded(written: Any) -> Any:
    """A list of choices from what a person writes: one value, a list, or {low, high, step}."""
    if isinstance(written, dict):
        return _integers(written)
    values = list(written) if isinstance(written, list | tuple) else [written]
    if not values:
        raise ValueError("must hold at least one choice; write a value or a list of values")
    if len(values) > MOST_CHOICES:
        raise ValueError(f"must hold at most {MOST_CHOICES:,} choices; leave some out")
    for i, value in enumerate(values):
        if value in values[:i] and not isinstance(value, bool):
            raise ValueError(f"holds the choice {shortened(repr(value))} twice; remove one")
    return values


def _integers(written: dict) -> list[int]:
    if not {"low", "high"} <= set(written) <= {"low", "high", "step"} or not all(type(v) is int for v in written.values()):
        raise ValueError(f"a range must be {{low: integer, high: integer, step: integer}}, but got {shortened(str(written))}")
    low, high, step = written["low"], written["high"], written.get("step", 1)
    if step < 1 or high < low or (high - low) % step:
        raise ValueError(f"a range must go from low up to high in whole steps of at least 1, but got {low=}, {high=}, {step=}")
    if (high - low) // step >= MOST_CHOICES:
        raise ValueError(f"a range must hold at most {MOST_CHOICES:,} integers, but got {low=}, {high=}, {step=}")
    return list(range(low, high + 1, step))


def _choices_of(model: type[Value], fields: list[str]) -> dict[str, Any]:
    """For each field of `model` one that holds a tuple of choices of the same type, or None where the user says nothing."""
    kinds = get_type_hints(model, include_extras=True)
    several = {name: GenericAlias(tuple, (kinds[name], ...)) for name in fields}
    return {name: (Optional[Annotated[kind, BeforeValidator(_expanded)]], None) for name, kind in several.items()}  # noqa: UP045


class _PluginChoices(OpenValue):
    """Choices of what only plugins' mixers can be set."""

    @classmethod
    def further_keys(cls) -> tuple[str, ...]:
        """Their names."""
        return plugin_options()

    @model_validator(mode="before")
    @classmethod
    def _listed(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        own = [name for name in data if name in plugin_options()]
        return {**data, **{name: _expanded_at(name, data[name]) for name in own if data[name] is not None}}


def _expanded_at(name: str, written: Any) -> tuple:
    try:
        return tuple(_expanded(written))
    except ValueError as error:
        raise broken(name, str(error)) from None


STAGE_FIELDS = [name for name in Stage.model_fields if name != "plugin"]
StageChoices: type[Value] = create_model("StageChoices", __base__=_PluginChoices, **_choices_of(Stage, STAGE_FIELDS))
NETWORK_FIELDS = [name for name in Architecture.model_fields if name != "stages"]
NetworkChoices: type[Value] = create_model("NetworkChoices", __base__=Value, **_choices_of(Architecture, NETWORK_FIELDS))


def choices_set(stage: Value) -> dict[str, tuple]:
    """What the user says of a stage, by setting, in the order in which settings are decided."""
    values = {name: getattr(stage, name, None) for name in settings_of_stages()}
    return {name: value for name, value in values.items() if value is not None}
