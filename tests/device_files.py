"""Device files of a device whose times are known: so much for each MAC, for each entry of a map and for each pooling."""

import random

import numpy as np

from nas.devices.conditions import Conditions
from nas.devices.device_file import DeviceFile, Timing
from nas.devices.measuring import device_file_of
from nas.space.architecture import Architecture
from nas.space.constraints import random_architecture
from nas.space.search_space import SearchSpace


def known_ms(architecture: Architecture, space: SearchSpace) -> float:
    """What a network takes on the made-up device: pooling is as slow as nobody would think from its MACs."""
    counted = space.cost(architecture)
    pooling = sum(stage.depth * stage.width for stage in architecture.stages if stage.mixer == "pool")
    return 0.5 + 2e-6 * counted.macs + 2e-6 * counted.params + 0.03 * pooling


def device_file(space: SearchSpace, *, architectures=None, seed: int = 0, noise: float = 0.005, **changes) -> DeviceFile:
    """The file that forty random networks of the space make, or those given, each time off by a little."""
    rng, errors = random.Random(seed), np.random.default_rng(seed)
    drawn = architectures or [random_architecture(space, rng) for _ in range(40)]
    times = [known_ms(a, space) * float(np.exp(noise * errors.standard_normal())) for a in drawn]
    timings = [Timing(architecture=a, latency_ms=ms, low=0.99 * ms, high=1.01 * ms) for a, ms in zip(drawn, times, strict=True)]
    conditions = Conditions(batch=1, image_size=space.image_size, threads=1)
    made = device_file_of(timings, space, conditions, machine={"device": "cpu", "model": "made up"})
    return made.model_copy(update=changes)
