"""How a search went: hypervolume as trainings end, what the machine time went into, what failed, what was refused."""

import json
from collections import Counter

import numpy as np
import pandas as pd

from nas.pareto import hypervolume_of, pareto
from nas.results.points import is_whole, minimised, stands_for_a_training
from nas.run.reading import Reading
from nas.run.record import TRAINED, TrialState


def trainings_ended(trials: pd.DataFrame) -> pd.DataFrame:
    """The trainings in the order they ended, those without a result and what other runs answered included."""
    rows = trials[trials["state"].isin(TRAINED) | stands_for_a_training(trials)]
    return rows.sort_values(["ended", "trial"], kind="stable", na_position="last")


def scaled(trainings: pd.DataFrame, costs: tuple[str, ...], reference: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Errors and costs as shares of `reference`, `(N, objectives)`; and which trainings may stand on a front, `(N,)`."""
    errors = 1 + minimised(trainings, "accuracy")
    points = np.hstack([errors, trainings[list(costs)].to_numpy(float) / np.asarray(reference, dtype=float)])
    return points, is_whole(trainings).to_numpy()


def volumes(trials: pd.DataFrame, costs: tuple[str, ...], reference: list[float]) -> pd.DataFrame:
    """A row for each training in the order they ended: `trainings`, summed `seconds`, the `hypervolume` reached by then, and
    whether it was `whole`: what waits at a rung until the search is over is told last, whenever it was trained.

    What other runs answered adds to the hypervolume alone.
    """
    rows = trainings_ended(trials)
    reached, seconds = _reached(*scaled(rows, costs, reference)), rows["seconds"].cumsum().to_numpy()
    number = rows["state"].isin(TRAINED).cumsum().to_numpy()
    whole = stands_for_a_training(rows).to_numpy()
    return pd.DataFrame({"trainings": number, "seconds": seconds, "hypervolume": reached, "whole": whole})


def _reached(points: np.ndarray, counts: np.ndarray) -> list[float]:
    front, volume, reached = points[:0], 0.0, []
    for point, counted in zip(points, counts, strict=True):
        if counted and not (front <= point).all(axis=1).any():
            front = np.vstack([front, point])
            front = front[pareto(front)]
            volume = hypervolume_of(front, [1.0] * len(point))
        reached.append(volume)
    return reached


def flat_for(course: pd.DataFrame, *, share: float = 0.002) -> int:
    """How many of the last trainings together raised the hypervolume by less than `share` of it."""
    if not len(course):
        return 0
    last = course["hypervolume"].iloc[-1]
    return int((course["hypervolume"] >= last * (1 - share)).sum()) - 1 if last > 0 else 0


def time_by_fate(trials: pd.DataFrame) -> pd.DataFrame:
    """Where the seconds of training went, one row a fate: `what`, `trainings`, `seconds`, `share`."""
    kinds = [("baselines", trials["baseline"].notna() & trials["state"].isin(TRAINED))]
    kinds += [(state.words, (trials["state"] == state) & trials["baseline"].isna()) for state in TRAINED]
    rows = [
        {"what": what, "trainings": int(rows.sum()), "seconds": float(trials["seconds"][rows].sum())} for what, rows in kinds
    ]
    again, others = trials["repeated"], trials["replicates_seconds"]
    number = int((trials["replicates"] + trials["replicates_failed"]).sum())
    rows += [
        {"what": "trained again after interruptions", "trainings": int((again > 0).sum()), "seconds": float(again.sum())},
        {"what": "trained again with other seeds", "trainings": number, "seconds": float(others.sum())},
    ]
    fates = pd.DataFrame(rows)
    fates = fates[fates["trainings"] > 0].reset_index(drop=True)
    return fates.assign(share=fates["seconds"] / max(fates["seconds"].sum(), 1e-9))


def saved(trials: pd.DataFrame) -> dict[str, float]:
    """Seconds not spent, estimated: `rungs` what stopped trials had left to train, `record` what an answer from it spared, and
    `runs` what the answers of other runs took there."""
    stopped = trials[(trials["state"] == TrialState.STOPPED) & (trials["epochs"] > 0)]
    complete = trials["state"] == TrialState.COMPLETE
    whole = trials.loc[complete, "epochs"].max() if complete.any() else 0
    rungs = (stopped["seconds"] / stopped["epochs"] * (whole - stopped["epochs"])).clip(lower=0).sum()
    by_number = trials.set_index("trial")["seconds"]
    answered = trials.loc[trials["state"] == TrialState.ANSWERED, "answered_from"].dropna()
    others = trials[(trials["state"] == TrialState.ANSWERED) & stands_for_a_training(trials)]
    runs = sum(epoch["seconds"] for curve in others["curve"] for epoch in json.loads(curve))
    return {"rungs": float(rungs), "record": float(by_number.reindex(answered.astype(int)).sum()), "runs": float(runs)}


def failures(trials: pd.DataFrame) -> pd.DataFrame:
    """Failed trials by the kind of their cause, most frequent first: `kind`, `trials`, `example`, `numbers`."""
    failed = trials[trials["state"] == TrialState.FAILED]
    kinds = failed["cause"].fillna("unknown").str.partition(":")[0] if len(failed) else pd.Series(dtype=str)
    rows = [
        {"kind": kind, "trials": len(rows), "example": str(rows["cause"].iloc[0]), "numbers": list(rows["trial"])}
        for kind, rows in failed.groupby(kinds)
    ]
    table = pd.DataFrame(rows, columns=["kind", "trials", "example", "numbers"])
    return table.sort_values("trials", ascending=False, kind="stable").reset_index(drop=True)


def rejections(reading: Reading) -> tuple[int, int, Counter]:
    """Proposals in all, those refused before training, and how many of these broke which limit."""
    asked = [r for r in reading.records if r.is_drawn and r.baseline is None]
    refused = [r for r in reading.records if r.is_drawn and r.state == TrialState.REJECTED]
    limits = Counter(
        part.split()[0] if "outside its limit" in part else "already in training"
        for record in refused
        for part in (record.cause or "").split(", ")
    )
    return len(asked), len(refused), limits
