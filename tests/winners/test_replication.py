"""Which networks are trained again, and what their means and intervals do to a front."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from nas.files import write_whole
from nas.results.front import front, load, tied
from nas.results.noise import noise_of
from nas.results.standing import entries, standing
from nas.run.additions import REPLICATE, Addition, adding
from nas.run.folder import open_folder
from nas.run.reading import read
from nas.search.study import Study
from nas.winners.replication import next_round

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tiny, tmp_path):
    """Makes a run with the given accuracies, the cheapest network first, judged by so many images; and what adds replicates."""

    def made(*accuracies: float, images: int):
        search = tiny(f"search.trials={len(accuracies)}", "search.sampler=random")
        folder = open_folder(tmp_path / "run", search)
        study = Study(search, folder, manifest_hash="feed")
        proposals = [study.propose() for _ in accuracies]
        proposals.sort(key=lambda p: search.space.cost(p.architecture).macs)
        for proposal, accuracy in zip(proposals, accuracies, strict=True):
            study.finish(proposal.number, accuracy=accuracy, seconds=1.0)
        study.close()
        write_whole(folder.manifest, json.dumps({"class_names": ["a", "b"], "validation": [["", 0]] * images}))

        def again(trial: int, *accuracies: float | None) -> None:
            with adding(search, folder) as add:
                for seed, accuracy in enumerate(accuracies, start=1):
                    cause = "diverged" if accuracy is None else None
                    facts = {"accuracy": accuracy, "seconds": 1.0, "cause": cause, "seed": seed}
                    add(Addition(REPLICATE, trial, f"seed {seed}", facts))

        return folder.root, again

    return made


def complete(root):
    return load(root).query("state == 'complete'").sort_values("macs")


def test_the_mean_over_other_seeds_stands_for_the_accuracy_that_a_network_was_chosen_for(run):
    root, again = run(0.99, 0.5, images=100)
    first, second = complete(root)["trial"]
    again(first, 0.5, 0.7)
    again(second, 0.6, 0.6)
    table = complete(root).set_index("trial")
    assert table.loc[first, ["accuracy", "accuracy_first", "replicates"]].tolist() == [pytest.approx(0.6), 0.99, 2]
    assert table.loc[first, "accuracy_sd"] == pytest.approx(np.sqrt(0.02)) and table.loc[second, "accuracy_sd"] == 0
    noise = noise_of(read(root))
    assert noise.seeds == pytest.approx(0.1) and noise.freedom == 2  # sqrt((0.02 + 0) / 2)
    assert noise.quantile == pytest.approx(4.303, abs=1e-3)  # Student's t, any textbook's table


def test_more_seeds_make_the_interval_narrower(run):
    root, again = run(0.5, 0.5, images=20_000)
    first, second = complete(root)["trial"]
    again(first, 0.5, 0.52, 0.54, 0.52)
    again(second, 0.5, 0.54)
    table = complete(root).set_index("trial")
    width = table["accuracy_high"] - table["accuracy_low"]
    assert width[second] / width[first] == pytest.approx(np.sqrt(2), rel=0.05)


def test_a_network_whose_luck_it_was_leaves_the_front_and_a_failing_seed_is_told(run):
    root, again = run(0.7, 0.8, 0.9, images=20_000)
    plain, _, lucky = complete(root)["trial"]
    assert set(front(load(root))["trial"]) == set(complete(root)["trial"])
    again(lucky, 0.1, 0.1)
    again(plain, 0.6, None)
    found = standing(load(root), ("macs",))
    assert lucky not in set(found.best["trial"])
    row = found.trials[found.trials["trial"] == plain].iloc[0]
    assert (row["accuracy"], row["replicates"], row["replicates_failed"]) == (0.6, 1, 1)
    assert {entry.row["trial"]: entry.remark for entry in entries(found)}[plain].split(", ")[-1] == "failed under 1 other seed"


def test_a_round_holds_what_is_or_could_be_on_the_front_and_each_gets_its_next_seed(run):
    root, again = run(*np.linspace(0.3, 0.9, 6), images=50)
    table = load(root)
    best = front(table)
    near = {*best["trial"], *tied(table, best)["trial"]}
    wanted = next_round(read(root), number=2)
    assert {each.trial for each in wanted} == near and {each.seed for each in wanted} == {1}
    assert [each.trial for each in wanted][: len(best)] == list(best["trial"])
    assert len(next_round(read(root), number=2, most=1)) == 1
    top = wanted[0].trial
    again(top, float(best["accuracy"].iloc[0]))
    assert {each.trial: each.seed for each in next_round(read(root), number=2)}[top] == 2
    assert top not in {each.trial for each in next_round(read(root), number=1)}


def test_what_is_surely_worse_is_not_trained_again(run):
    root, _ = run(*np.linspace(0.3, 0.9, 6), images=20_000)
    assert {each.trial for each in next_round(read(root), number=3)} == set(front(load(root))["trial"])


@pytest.mark.slow
def test_a_replication_that_is_killed_keeps_what_finished_and_the_same_command_goes_on(tmp_path):
    root = tmp_path / "run"
    tiny = [sys.executable, "-m", "nas", "search", "search_spaces/tiny.yaml", "--trials", "3", "--out", str(root)]
    subprocess.run([*tiny, "--workers", "1"], cwd=ROOT, check=True, capture_output=True)
    command = [sys.executable, "-m", "nas", "replicate", str(root), "--replicates", "3", "--workers", "1"]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 300
    while not read(root).additions and time.monotonic() < until:
        time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    kept = {(each.trial, each.which): each.value for each in read(root).additions}
    assert kept
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "measured by replicates" in " ".join(done.stdout.split()), done.stderr
    now = {(each.trial, each.which): each.value for each in read(root).additions}
    assert kept.items() <= now.items()
    assert next_round(read(root), number=3) == []
