"""MetaFormer-64 as two tables: a row a network, seed and epoch; a row a network, fidelity, seed and signal.

    python experiments/calibration/reference/tables.py runs/reference --out experiments/calibration/reference

`reference.csv` holds the curves of the long trainings; `signals.csv` is what `nas calibrate` made of all of them, with costs as
shares of a long training, by epochs and pixels: seconds depend on what else the machine did. `architectures.json` says by key
what each network is.
"""

import argparse
import csv
import json
from pathlib import Path

import pandas as pd

from nas.calibration.plan import architectures_of, fidelities_of
from nas.calibration.record import curve_of
from nas.run.folder import read_run
from nas.run.settings.search import read_search

ALL = Path(__file__).with_name("variants.yaml")  # the reference and all that is compared with it
IMAGES = 10_000  # that an epoch learns from


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    folder, search = read_run(asked.run)
    architectures, _ = architectures_of(search)
    with (folder.calibration / "trainings.csv").open() as file:
        trainings = [row for row in csv.DictReader(file) if row["fidelity"] == "reference" and not row["cause"]]
    rows = [epoch for row in trainings for epoch in epochs_of(row, architectures[row["name"]], search)]
    pd.DataFrame(rows).round(6).to_csv(asked.out / "reference.csv", index=False)
    signals = pd.read_csv(folder.calibration / "signals.csv")
    fidelities = fidelities_of(read_search(ALL), where=str(ALL))
    costs = {name: recipe.epochs * recipe.full_size**2 for name, recipe in fidelities.items()}
    signals["cost_share"] = signals["fidelity"].map(costs) / costs["reference"]
    signals.drop(columns="name").to_csv(asked.out / "signals.csv", index=False)
    named = {a.key: {"name": name, "architecture": a.to_dict()} for name, a in architectures.items()}
    (asked.out / "architectures.json").write_text(json.dumps(named, indent=1) + "\n", encoding="utf-8")


def epochs_of(row: dict, architecture, search) -> list[dict]:
    """The curve of one long training."""
    cost, seconds, epochs = search.space.cost(architecture), 0.0, []
    family = "random" if row["name"].startswith("random") else row["name"].partition("@")[0]
    for epoch in curve_of(row):
        seconds += epoch.seconds
        facts = {"key": architecture.key, "family": family, "macs": cost.macs, "params": cost.params, "seed": int(row["seed"])}
        facts |= {"epoch": epoch.epoch, "images_seen": IMAGES * epoch.epoch, "seconds": round(seconds, 1)}
        losses = {"validation_loss": epoch.loss, "training_loss": epoch.train_loss}
        epochs.append({**facts, "accuracy": epoch.accuracy, **losses})
    return epochs


if __name__ == "__main__":
    main()
