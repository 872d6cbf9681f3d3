"""A space measured on this machine: networks chosen, run in turns, and what they foretell of all others."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from nas.devices.conditions import Conditions
from nas.devices.device_file import SAYS, DeviceFile, Timing, learnt
from nas.devices.measure import fingerprint, peak_bytes_of, ready, seconds_of
from nas.devices.rounds import Budget, OnRound, Timed, in_turns
from nas.errors import NasError
from nas.models.reparam import deployed
from nas.space.architecture import Architecture
from nas.space.search_space import SearchSpace


class Times(NamedTuple):
    """What was measured of a network."""

    timed: Timed
    peak_bytes: int | None


def times_of(
    architectures: Sequence[Architecture],
    conditions: Conditions,
    *,
    num_classes: int,
    budget: Budget,
    on_round: OnRound | None = None,
) -> list[Times]:
    """Each network's time for a batch under `conditions`; NasError where the machine is too noisy or the device missing."""
    size = conditions.image_size
    networks = {str(i): deployed(a, image_size=size, num_classes=num_classes) for i, a in enumerate(architectures)}
    with ready(networks, conditions) as passes:
        for run in passes.values():
            for _ in range(conditions.warm_up):
                run()
        peaks = {name: peak_bytes_of(run, conditions) for name, run in passes.items()}
        clocks = {name: partial(seconds_of, run, conditions) for name, run in passes.items()}
        timed = in_turns(clocks, budget, on_round=on_round)
    return [Times(timed[name], peaks[name]) for name in networks]


def measured_space(
    space: SearchSpace,
    architectures: Sequence[Architecture],
    conditions: Conditions,
    *,
    budget: Budget,
    on_round: OnRound | None = None,
) -> DeviceFile:
    """A device file of `architectures`, measured on this machine."""
    machine = fingerprint(conditions)
    times = times_of(architectures, conditions, num_classes=space.num_classes, budget=budget, on_round=on_round)
    networks = [_measured(a, each) for a, each in zip(architectures, times, strict=True)]
    return device_file_of(networks, space, conditions, machine=machine)


def _measured(architecture: Architecture, times: Times) -> Timing:
    ms, low, high, rounds = times.timed
    return Timing(architecture=architecture, latency_ms=ms, low=low, high=high, rounds=rounds, peak_bytes=times.peak_bytes)


def device_file_of(
    networks: Sequence[Timing], space: SearchSpace, conditions: Conditions, *, machine: Mapping[str, object]
) -> DeviceFile:
    """The file that measured networks make."""
    predictor, quality = learnt(networks, image_size=conditions.image_size, num_classes=space.num_classes)
    return DeviceFile(
        machine=dict(machine),
        conditions=conditions,
        num_classes=space.num_classes,
        space=space.model_dump(mode="json", exclude_none=True),
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        networks=tuple(networks),
        predictor=predictor,
        quality=quality,
    )


def differences(file: DeviceFile) -> list[str]:
    """In what this machine differs from the one of a device file, fact by fact; none where it is the same."""
    if file.conditions.runtime == "outside":
        return [f"measured with a tool of its own ({_which(file.machine)})"]
    try:
        here = fingerprint(file.conditions)
    except NasError as error:
        return [str(error)]
    return [
        f"{name} is {here.get(name)}, in the file {value}" for name, value in file.machine.items() if here.get(name) != value
    ]


def check_same_machine(file: DeviceFile, *, where: str) -> None:
    """NasError where `file` is of another machine than this one, or of other libraries."""
    others = differences(file)
    if others:
        raise NasError(
            f"{where}: is of another device than this one: {'; '.join(others)}. Measure there, or measure this one: "
            "nas devices measure --help"
        )


def _which(machine: dict[str, object]) -> str:
    return " ".join(str(machine[name]) for name in SAYS)
