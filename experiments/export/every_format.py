"""Networks in every format that can be written here: the largest difference of a logit to torch's, and the seconds it took.

    python experiments/export/every_format.py mixers --out experiments/export/mixers.csv
    python experiments/export/every_format.py runs/hybrid --out experiments/export/front.csv

"mixers" stands for a stage of each mixer at 32 px with random weights, a run for its front and baselines as trained.
"""

import argparse
import csv
import tempfile
import time
from collections.abc import Iterator
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

COLUMNS = ("network", "format", "difference", "seconds_to_write_and_prove")


def networks_of(target: str) -> Iterator[tuple[str, nn.Module, int]]:
    """Names, networks and image sizes."""
    if target == "mixers":
        for mixer in MIXERS:
            torch.manual_seed(0)
            stage = Stage(mixer=mixer, depth=1, width=32, norm="group")
            yield mixer, build(Architecture(stages=(stage,)), image_size=32, num_classes=5).eval(), 32
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
    with arguments.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for label, network, size in networks_of(arguments.target):
            for name in formats:
                with tempfile.TemporaryDirectory() as folder:
                    began = time.perf_counter()
                    gap = write_formats(network, [name], Path(folder), image_size=size)[name]
                    seconds = f"{time.perf_counter() - began:.1f}"
                difference = "" if gap is None else f"{gap:.1e}"
                row = {
                    "network": label,
                    "format": name,
                    "difference": difference,
                    "seconds_to_write_and_prove": seconds,
                }
                writer.writerow(row)
                file.flush()


if __name__ == "__main__":
    main()
