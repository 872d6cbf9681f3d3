"""A device file as a person reads it: on what it was measured, how, and how good its predictions are."""

from pathlib import Path

from rich.console import Console

from nas.devices.conditions import Conditions
from nas.devices.device_file import DeviceFile, Timing, check_target
from nas.run.settings.search import Search
from nas.space.cost import cost
from nas.space.costs import COSTS
from nas.terminal import Terminal
from nas.units import count


def measure_and_show(
    search: Search, conditions: Conditions, console: Console, *, out: Path, networks: int, minutes: float, seed: int
) -> None:
    """Measure a search's space on this machine, its baselines among the networks, write the device file and say what it is."""
    from nas.devices.measuring import measured_space
    from nas.devices.rounds import Budget
    from nas.devices.sampling import informative

    check_target(out)
    baselines = [search.design(name) for name in search.baselines]
    chosen = informative(search.space, networks, seed=seed, first=baselines)
    with Terminal(stderr=True).status(f"preparing {len(chosen)} networks") as status:
        on_round = lambda done, left: status.update(f"round {done}, {left} of {len(chosen)} networks go on")  # noqa: E731
        file = measured_space(search.space, chosen, conditions, budget=Budget(seconds=60 * minutes), on_round=on_round)
    file.write(out)
    show_device(file, console, path=out)


def show_device(file: DeviceFile, console: Console, *, path: Path) -> None:
    """A few lines about a device file."""
    for line in (f"{path}: {device_in_words(file)}", _spread(file.networks), quality_in_words(file), *_memory(file)):
        console.print(line, soft_wrap=True)


def device_in_words(file: DeviceFile) -> str:
    """Machine, software and conditions in one line."""
    machine = file.machine
    threads = f", {machine['threads']} threads" if "threads" in machine else ""
    versions = "".join(f", {name} {machine[name]}" for name in ("torch", "onnxruntime", "driver") if machine.get(name))
    return f"{machine.get('device')} {machine.get('model')}{threads}{versions}; {file.conditions.in_words}"


def _spread(networks: tuple[Timing, ...]) -> str:
    times = sorted(network.latency_ms for network in networks)
    halves = sorted((n.high - n.low) / (2 * n.latency_ms) for n in networks)
    return (
        f"{len(networks)} networks of {times[0]:.2f} to {times[-1]:.2f} ms a batch were measured, half of them to ±"
        f"{halves[len(halves) // 2]:.1%} or better (95 % intervals)"
    )


def _memory(file: DeviceFile) -> list[str]:
    """The working memory that was measured beside the closed form; nothing where the runtime does not tell it."""
    peaks = sorted(network.peak_bytes for network in file.networks if network.peak_bytes is not None)
    if not peaks:
        return []
    size, classes = file.conditions.image_size, file.num_classes
    counted = sorted(
        cost(network.architecture, image_size=size, num_classes=classes).activation_bytes for network in file.networks
    )
    return [
        f"working memory at its widest, weights aside: {peak_in_words(peaks[0])} to {peak_in_words(peaks[-1])} a batch; "
        f"activation_bytes, {COSTS['activation_bytes'].remark}, says {count(counted[0])}B to {count(counted[-1])}B"
    ]


def peak_in_words(peak: int | None) -> str:
    """A measured working memory."""
    return "" if peak is None else f"{count(peak)}B"


def quality_in_words(file: DeviceFile) -> str:
    """How good predictions are of networks that were held out of the fit."""
    quality = file.quality
    return (
        f"foretold without being measured: median error {quality.median_error:.1%}, 90 % within "
        f"{quality.error_90:.1%}, Kendall tau {quality.tau:.2f} (MACs alone {quality.macs_tau:.2f}); "
        f"{quality.inside:.0%} lie inside their 90 % intervals"
    )
