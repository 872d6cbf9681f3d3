"""Networks in every format that can be written here: largest difference of a logit to torch's, seconds to write, time an image.

    python experiments/export/every_format.py mixers --out experiments/export/mixers.csv
    python experiments/export/every_format.py runs/hybrid --out experiments/export/front.csv

"mixers" stands for a stage of each mixer at 32 px with random weights, a run for its front and baselines as trained. Times are
of one image on one core, torch's and all runtimes' in turns.
"""

import argparse
import csv
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn

from nas.errors import NasError
from nas.export.formats.table import WRITERS, check_formats, write_formats
from nas.models.metaformer import build
from nas.models.reparam import merge
from nas.space.architecture import Architecture, Stage
from nas.space.mixers import MIXERS
from nas.training.trained import own_network
from nas.winners.lookup import trained_trial
from nas.winners.selection import members

COLUMNS = ("network", "format", "difference", "seconds_to_write_and_prove", "ms")
WARM_UP, TURNS = 3, 21


def networks_of(target: str) -> Iterator[tuple[str, nn.Module, int]]:
    """Names, networks and image sizes."""
    if target == "mixers":
        for mixer in MIXERS:
            torch.manual_seed(0)
            stage = Stage(mixer=mixer, depth=1, width=32, norm="group")
            yield mixer, build(Architecture(stages=(stage,)), image_size=32, num_classes=5).eval(), 32
        stage = Stage(mixer="conv", depth=1, width=32, norm="group", mlp="conv", se_ratio=0.25)
        more = Architecture(stages=(stage,), stem_steps=2)
        yield "conv, mlp: conv, se_ratio, stem_steps: 2", build(more, image_size=32, num_classes=5).eval(), 32
        return
    for chosen in members(Path(target)):
        try:
            trained = trained_trial(Path(target), chosen.origin["trial"])
        except NasError as error:
            print(error)
            continue
        size = trained.recipe.full_size
        network = own_network(trained.architecture, trained.weights, image_size=size)
        yield chosen.name, merge(network, trained.architecture)[0], size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    formats = []
    for name in WRITERS:
        try:
            formats += check_formats([name])
        except NasError as error:
            print(f"not here: {error}")
    networks = list(networks_of(arguments.target))
    with tempfile.TemporaryDirectory() as folder, arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        places = [Path(folder) / str(number) for number in range(len(networks))]
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"), initializer=one_thread) as pool:
            proofs = list(pool.map(proven, networks, places, [formats] * len(networks)))
        for (label, network, size), place, proof in zip(networks, places, proofs, strict=True):
            paths = {name: place / WRITERS[name].files[0] for name in formats}
            for name, ms in timed(network, size, paths).items():
                writer.writerow(
                    {"network": label, "format": name, **proof.get(name, {}), "ms": "" if ms is None else f"{ms:.2f}"}
                )
            file.flush()


def one_thread() -> None:
    """Processes share the machine's cores, one each."""
    torch.set_num_threads(1)


def proven(named: tuple[str, nn.Module, int], folder: Path, formats: list[str]) -> dict[str, dict[str, str]]:
    """Writes a network in each format; how far it is from torch's answers and how long that took, by format."""
    _, network, size = named
    folder.mkdir()
    proof = {}
    for name in formats:
        began = time.perf_counter()
        gap = write_formats(network, [name], folder, image_size=size)[name]
        seconds = f"{time.perf_counter() - began:.1f}"
        proof[name] = {"difference": "" if gap is None else f"{gap:.1e}", "seconds_to_write_and_prove": seconds}
    return proof


def timed(network: nn.Module, size: int, paths: dict[str, Path]) -> dict[str, float | None]:
    """Median milliseconds of one image in torch and in each runtime, in turns on one core; None for what has none here."""
    with one_core():
        answers = {"torch": torch.inference_mode()(network)}
        for name, path in paths.items():
            load = WRITERS[name].load
            answers[name] = None if load is None else load(path)
        image = torch.rand(1, 3, size, size)
        times: dict[str, list[float]] = {name: [] for name in answers}
        for turn in range(-WARM_UP, TURNS):
            for name, answer in answers.items():
                if answer is not None:
                    began = time.perf_counter()
                    answer(image)
                    if turn >= 0:
                        times[name].append(1e3 * (time.perf_counter() - began))
    return {name: statistics.median(own) if own else None for name, own in times.items()}


@contextmanager
def one_core() -> Iterator[None]:
    """Each runtime chooses its own number of threads: all get the same core."""
    threads, cores = torch.get_num_threads(), os.sched_getaffinity(0)
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
