"""What seeds do to a front, on the digits' table: a search sees one seed of each network, the other two say what is true.

python experiments/searchers/noise.py --searches 30

`measured` recommends the front of the accuracies that it saw; `expected` that of what `nas/results/luck.py` makes of these and
of the losses beside them; `replicated` the same where the spread between seeds is known, as after `nas replicate`. `best` is
the front of all that it trained if the truth were known.
"""

import argparse
from collections.abc import Iterator

import numpy as np
import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution
from tables import DIGITS, REFERENCE

from nas.pareto import hypervolume_of, pareto
from nas.recipes.signals import LOSSES
from nas.results.luck import expected_accuracies
from nas.results.noise import Noise
from nas.run.record import TrialState
from nas.search.samplers.front import FrontSampler
from nas.search.samplers.history import History

IMAGES = 719  # that digits.yaml judges by
MARKS = (25, 50, 100)  # trainings


def networks() -> pd.DataFrame:
    """A row a network and seed, as a table of trials holds them."""
    rows = pd.read_csv(DIGITS, dtype={"arch": str})
    train = [name for name in rows if name.startswith("train_loss")]
    signals = {
        "validation_loss": rows["loss4"],
        "training_losses": rows[train].sum(axis=1),
        "last_training_loss": rows[train[-1]],
    }
    facts = {"accuracy": rows["accuracy4"] / 100, "state": TrialState.COMPLETE, "baseline": None, "replicates": 0}
    return rows[["arch", "seed", "macs"]].assign(**facts, **{name: signals[name] for name in LOSSES})


def search(rows: pd.DataFrame, number: int) -> Iterator[dict[str, float]]:
    """One search: what each way of recommending is truly worth, and by how much the accuracies that it shows are too high."""
    seen = rows[rows["seed"] == number % 3].set_index("arch")
    spread = float(rows.groupby("arch")["accuracy"].std().pow(2).mean() ** 0.5)  # between seeds
    truth = rows[rows["seed"] != number % 3].groupby("arch")["accuracy"].mean()
    all_points = np.column_stack([-truth, seen["macs"][truth.index]])
    front = all_points[pareto(all_points)]
    ideal, nadir = front.min(axis=0), front.max(axis=0)

    def volume(points: np.ndarray) -> float:
        return hypervolume_of((points[pareto(points)] - ideal) / (nadir - ideal), [REFERENCE] * 2)

    space = {f"choice{i}": CategoricalDistribution(sorted(set(d))) for i, d in enumerate(zip(*truth.index, strict=True))}
    history = History(space, lambda params: float(seen["macs"]["".join(params.values())]))
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=FrontSampler(history, seed=number))
    for _ in range(max(MARKS)):
        trial = study.ask()
        arch = "".join(trial.suggest_categorical(name, d.choices) for name, d in space.items())
        study.tell(trial, [seen["accuracy"][arch], float(seen["macs"][arch])])
        names = ["".join(t.params.values()) for t in study.get_trials(deepcopy=False)]
        if len(names) not in MARKS:
            continue
        trained = seen.loc[names].reset_index()
        shown_by = {"best": truth[names], "measured": trained["accuracy"]}
        shown_by["expected"] = expected_accuracies(trained, Noise(images=IMAGES))
        shown_by["replicated"] = expected_accuracies(trained, Noise(images=IMAGES, seeds=spread, freedom=30))
        for way, shown in shown_by.items():
            values, true, macs = shown.to_numpy(), truth[names].to_numpy(), trained["macs"].to_numpy()
            chosen = pareto(np.column_stack([-values, macs]))
            share = volume(np.column_stack([-true, macs])[chosen]) / volume(all_points)
            too_high = 100 * (values - true)[chosen].mean()
            yield {"search": number, "trained": len(names), "way": way, "hypervolume": share, "too_high": too_high}


def main() -> None:
    """Run the searches; print means, standard errors and the paired difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--searches", type=int, default=30)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    rows = networks()
    found = pd.DataFrame([row for number in range(parser.parse_args().searches) for row in search(rows, number)])
    by = found.groupby(["trained", "way"])[["hypervolume", "too_high"]]
    print(by.agg(["mean", "sem"]).round(3).to_string())
    table = found.pivot(index=["trained", "search"], columns="way", values="hypervolume")
    for way in ("expected", "replicated"):
        gain = (table[way] - table["measured"]).groupby("trained")
        print(pd.DataFrame({f"{way} less measured": gain.mean(), "standard error": gain.sem()}).round(3).to_string())


if __name__ == "__main__":
    main()
