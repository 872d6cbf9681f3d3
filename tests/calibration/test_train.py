"""What a calibration trains, that it is trained once whatever happens, and how it refuses what cannot work."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from ray import cloudpickle
from rich.console import Console

from nas.calibration.plan import FEWEST_RANKED, draft, fidelities_of, published, random_spread, shrunk
from nas.calibration.progress import Pace
from nas.calibration.record import Training, Trainings
from nas.calibration.train import run_calibration
from nas.cluster.jobs import run_jobs
from nas.errors import ConfigError, NasError
from nas.recipes.recipe import Proxy
from nas.run.settings.search import read_search
from nas.run.settings.sections import Calibration, Resources
from nas.space.reference import design
from nas.training.curve import Outcome
from tests.studies import epoch

ROOT = Path(__file__).parents[2]
HYBRID = ROOT / "search_spaces" / "hybrid.yaml"
TINY = ROOT / "search_spaces" / "tiny.yaml"
FEW = ["calibration.random=4", "calibration.designs=[]"]
QUIET = Console(quiet=True)
cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import a test


def hybrid(*settings):
    """The flagship search with settings laid over it."""
    return read_search(HYBRID, settings=list(settings))


def training(**changes) -> Training:
    """One training of PoolFormer-S12."""
    plain = {"fidelity": "proxy", "name": "s12", "architecture": design("poolformer_s12"), "manifest": "feed", "seed": 0}
    return Training(**{**plain, "recipe": Proxy(), **changes})


# Architectures


def test_half_of_s12_has_its_depths_and_widths_halved():
    small = shrunk(design("ablation_ppaa"), Calibration(shrink=2))
    assert [s.depth for s in small.stages] == [1, 1, 3, 1]
    assert [s.width for s in small.stages] == [32, 64, 160, 256]


def test_a_depth_never_shrinks_to_nothing_and_attention_keeps_whole_heads():
    stages = design("ablation_pppa").stages
    odd = design("ablation_pppa").model_copy(update={"stages": tuple(s.model_copy(update={"width": 224}) for s in stages)})
    small = shrunk(odd, Calibration(shrink=2))
    assert [s.width for s in small.stages] == [112, 112, 112, 128]
    assert [s.depth for s in shrunk(odd, Calibration(shrink=8)).stages] == [1, 1, 1, 1]


def test_random_architectures_are_affordable_different_seeded_and_even_over_log_macs():
    search = hybrid()
    spread = random_spread(search, 8)
    costs = [search.space.cost(a) for a in spread]
    assert all(search.constraints.allow(c) for c in costs)
    assert len({a.key for a in spread}) == 8
    assert spread == random_spread(search, 8) != random_spread(hybrid("search.seed=1"), 8)
    logs = [math.log(c.macs) for c in costs]
    even = (logs[-1] - logs[0]) / 7
    assert all(0.5 * even < b - a < 1.5 * even for a, b in pairwise(logs))


def test_without_designs_the_baselines_are_trained_or_each_family_in_the_middle_of_the_space(tiny):
    families = [f"{family}@{macs}" for family in ("poolformerv2", "caformer") for macs in ("30M", "120M")]
    assert list(draft(hybrid("calibration.random=1"), where="x").architectures) == [*families, "random_01"]
    plan, search = draft(tiny("calibration.random=0"), where="x"), tiny()
    low, high = (search.cost(a).macs for a in random_spread(search, 2))
    assert all(low < search.cost(a).macs < high for a in plan.architectures.values())
    assert {s.mixer for a in plan.architectures.values() for s in a.stages} == {"pool", "identity", "random", "conv"}
    assert [note.partition(" macs")[0] for note in plan.notes] == [
        "left out: caformer@1M: caformer reaches from 1.60 M to 14.3 G"
    ]


def test_two_names_of_one_network_are_trained_once_and_the_note_says_so():
    plan = draft(hybrid("calibration.designs=[poolformer_s12, ablation_baseline]", "calibration.random=3"), where="x")
    assert "ablation_baseline" not in plan.architectures
    assert plan.notes == ("ablation_baseline is left out: it is the same network as poolformer_s12",)


# Fidelities


def test_fidelities_are_laid_over_the_proxy_and_come_cheapest_first(tiny):
    search = tiny("calibration.fidelities={long: {epochs: 9}, proxy: {}, large: {image_size: 48}, short: {epochs: 1}}")
    found = fidelities_of(search, where="x")
    assert list(found) == ["short", "proxy", "large", "long"]
    assert (found["long"].epochs, found["large"].full_size, found["proxy"].batch_size) == (9, 48, 64)
    assert all(recipe.rungs == () for recipe in found.values())


def test_a_warm_up_that_no_longer_fits_shrinks_with_the_epochs():
    search = hybrid("proxy.epochs=6", "proxy.warmup_epochs=3", "calibration.fidelities={short: {epochs: 2}, half: {epochs: 4}}")
    found = fidelities_of(search, where="x")
    assert (found["short"].warmup_epochs, found["half"].warmup_epochs) == (1.0, 3.0)


def test_by_default_there_are_a_quarter_a_half_the_proxy_a_long_one_and_larger_images():
    found = fidelities_of(hybrid("proxy.epochs=8"), where="x")
    assert {name: (r.epochs, r.full_size) for name, r in found.items()} == {
        "quarter": (2, 68), "half": (4, 68), "proxy": (8, 68), "large": (8, 104), "long": (32, 68),
    }  # fmt: skip
    assert list(fidelities_of(hybrid("proxy.epochs=2", "proxy.rungs=[]"), where="x")) == ["half", "proxy", "large", "long"]
    assert draft(hybrid(*FEW), where="x").against == "long"


def test_a_fidelity_is_not_bound_to_the_teacher_that_a_search_began_with():
    learnt = hybrid(
        "proxy.distillation={teacher: here, digest: 0123456789abcdef}", "calibration.fidelities={few: {classes: 5}, all: {}}"
    )
    assert [recipe.distillation.digest for recipe in fidelities_of(learnt, where="x").values()] == [None, None]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("calibration.fidelities.short.epochs=0", "x: calibration.fidelities.short.epochs: must be greater than or equal to 1"),
        ("calibration.fidelities.short.epoch=1", "x: calibration.fidelities.short: unknown key 'epoch'; did you mean epochs"),
        ("calibration.fidelities.again={}", "must be different trainings, but proxy is again"),
        ("calibration.fidelities.published={epochs: 1}", "none may be called 'published'"),
        ("calibration.fidelities.untrained={epochs: 1}", "none may be called 'untrained'"),
        (
            "calibration.fidelities.tiny={image_size: 12}",
            "calibration.fidelities.tiny.image_size: must suit every network, but",
        ),
        ("calibration.fidelities.grow={image_size: [24, 32]}", "must be one size for weights that belong to positions"),
        ("calibration.against=shrot", "calibration.against: unknown fidelity 'shrot'; did you mean short"),
        ("calibration.against=no.csv", "no.csv: cannot be read"),
        ("calibration.random=1", f"must have at least {FEWEST_RANKED} different architectures to rank, but got 3"),
    ],
)
def test_what_cannot_work_is_refused_with_its_dotted_path_before_anything_is_written(setting, message, tmp_path):
    search = hybrid(
        "calibration={designs: [ablation_ppaa, ablation_random], random: 3, fidelities: {proxy: {}, short: {epochs: 2}}}",
        setting,
    )
    with pytest.raises(ConfigError) as refused:
        run_calibration(search, root=tmp_path / "run", where="x", console=QUIET, announce=None)
    assert message in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_an_unknown_design_is_refused_when_the_file_is_read():
    with pytest.raises(ConfigError, match=r"calibration\.designs: unknown design 'poolformer_s13'"):
        hybrid("calibration.designs=[poolformer_s13]")


# The truth


def test_the_published_truth_holds_the_printed_top_1_and_random_architectures_drop_out():
    assert published()["ablation_ppaa"] == pytest.approx(0.810)
    assert published()["caformer_b36"] == pytest.approx(0.855)
    names = "ablation_baseline, ablation_ppaa, ablation_no_mlp, ablation_identity"
    plan = draft(hybrid(f"calibration.designs=[{names}]", "calibration.against=published"), where="x")
    assert plan.truth == {
        "ablation_baseline": 0.772, "ablation_ppaa": 0.81, "ablation_no_mlp": 0.057, "ablation_identity": 0.743,
    }  # fmt: skip
    assert set(plan.architectures) == set(plan.truth)
    assert plan.notes[0].startswith("left out, because published does not say how good they are: random_01, ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,top1\na,0.5\n", "must have the columns name and accuracy, but has name, top1"),
        ("name,accuracy\npoolformer_s12,77.2\n", "line 2: every name must stand once, with an accuracy between 0 and 1"),
        ("name,accuracy\na,0.5\na,0.6\n", "line 3: every name must stand once"),
    ],
)
def test_a_truth_in_a_damaged_csv_file_is_refused(text, message, tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        draft(hybrid(f"calibration.against={path}"), where="x")
    assert message in str(refused.value)


# The record


def test_a_training_is_known_by_what_is_trained_and_not_by_its_names():
    same = training(fidelity="other", name="other", recipe=Proxy(data="elsewhere", rungs=(2,)))
    assert same.setup == training().setup
    others = [
        training(seed=1),
        training(manifest="f00d"),
        training(recipe=Proxy(lr=2e-3)),
        training(architecture=design("poolformer_s24")),
    ]
    assert len({t.setup for t in [training(), *others]}) == 5


def test_what_was_put_down_is_there_for_the_next_process(tmp_path):
    path = tmp_path / "trainings.csv"
    outcome = Outcome(accuracy=0.123456789012345, seconds=1.5, curve=(epoch(1, 0.1),))
    Trainings(path).add(training(), outcome=outcome, machine=False, device="cpu")
    again = Trainings(path)
    assert again.is_done(training()) and not again.is_done(training(seed=1))
    row = again.row(training(fidelity="renamed"))
    assert float(row["accuracy"]) == 0.123456789012345
    assert json.loads(row["outcome"])["curve"] == [epoch(1, 0.1).model_dump()]


def test_a_failure_of_the_machine_is_tried_again_by_the_next_start_and_one_of_the_architecture_is_not(tmp_path):
    record = Trainings(tmp_path / "trainings.csv")
    failed = Outcome(accuracy=None, seconds=0.0, cause="because")
    record.add(training(seed=1), outcome=failed, machine=True, device="cpu")
    record.add(training(seed=2), outcome=failed, machine=False, device="cpu")
    assert [record.is_done(training(seed=s)) for s in (1, 2)] == [False, True]


def test_a_setting_that_is_newer_than_the_record_does_not_cost_its_trainings(tmp_path):
    path = tmp_path / "trainings.csv"
    Trainings(path).add(training(), outcome=Outcome(accuracy=0.5, seconds=1.0), machine=False, device="cpu")
    rows = list(csv.DictReader(path.open()))

    def rewritten(change) -> Trainings:
        recipe = json.loads(rows[0]["recipe"])
        change(recipe)
        with path.open("w") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerow({**rows[0], "recipe": json.dumps(recipe), "setup": "of those days"})
        return Trainings(path)

    assert rewritten(lambda recipe: recipe.pop("drop_path")).is_done(training())
    assert not rewritten(lambda recipe: recipe.update(drop_path=0.1)).is_done(training())
    assert not rewritten(lambda recipe: recipe.update(forgotten=1)).is_done(training())


def test_a_record_that_was_cut_short_is_refused(tmp_path):
    path = tmp_path / "trainings.csv"
    path.write_text("fidelity,name\nproxy,s12\n")
    with pytest.raises(ConfigError, match="is damaged: every row must have the columns"):
        Trainings(path)


def test_a_pace_is_that_of_images_and_of_their_macs():
    pace = Pace()
    assert (pace.expected([]), pace.expected([(1, 1)])) == (0, None)
    pace.learn((2, 2e9), seconds=10)
    assert pace.expected([(2, 2e9), (1, 1e9)]) == pytest.approx(15)
    pace.learn((2, 6e9), seconds=14)  # 4 s an image and 1 s a billion MACs
    assert pace.expected([(3, 1e9), (1, 10e9)]) == pytest.approx(13 + 14)


def test_no_image_and_no_mac_takes_less_than_no_time():
    pace = Pace()
    for macs, seconds in ((1e9, 20), (9e9, 10)):  # the larger one on an idle machine
        pace.learn((1, macs), seconds=seconds)
    assert 0 < pace.expected([(1, 100e9)]) < 20


# On Ray


def troubled(job: tuple[str, str]) -> str:
    """Notes each attempt in a file; kills its worker, breaks or works by its name."""
    name, folder = job
    with open(Path(folder) / name, "a") as attempts:
        attempts.write("x")
    if name == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "gone":
        raise NasError("the images are gone")
    if name == "breaks":
        raise ValueError("no such luck")
    return name.upper()


@pytest.mark.slow
def test_a_job_whose_worker_dies_is_tried_three_times_and_missing_data_ends_them_all(tmp_path):
    ended = {}
    jobs = [(name, str(tmp_path)) for name in ("dies", "a", "breaks", "b", "gone", "never")]

    def on_end(job, result, cause):
        ended[job[0]] = result, cause

    with pytest.raises(NasError, match="the images are gone"):
        run_jobs(jobs, work=troubled, resources=Resources(workers=1), on_end=on_end)
    assert (ended["a"], ended["b"]) == (("A", None), ("B", None))
    assert ended["dies"][1].startswith("the worker died 3 times: ")
    assert ended["breaks"] == (None, "the worker died 3 times: ValueError: no such luck")
    assert {p.name: len(p.read_text()) for p in tmp_path.iterdir()} == {"dies": 3, "breaks": 3, "a": 1, "b": 1, "gone": 1}


SMALL = [
    "--set", "calibration={designs: [], random: 4, seeds: 2, fidelities: {short: {epochs: 1}, proxy: {epochs: 2}}}",
    "--set", "proxy.images_per_class=30", "--set", "proxy.rungs=[]",
]  # fmt: skip


@pytest.mark.slow
def test_the_same_command_after_sigkill_trains_only_what_is_missing_and_writes_the_result(tmp_path):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "nas", "calibrate", str(TINY), "--out", str(run), "--workers", "2", *SMALL]
    with (tmp_path / "log").open("w") as log:
        killed = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 120
    while "[3/16]" not in (tmp_path / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    killed.kill()
    killed.wait()
    path = run / "calibration" / "trainings.csv"
    before = list(csv.DictReader(path.open()))
    assert 3 <= len(before) < 16, (tmp_path / "log").read_text()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=240)
    assert f"continuing: {len(before)} trainings are done already" in again.stdout
    after = list(csv.DictReader(path.open()))
    assert after[: len(before)] == before
    assert len({row["setup"] for row in after}) == len(after) == 16
    assert {p.name for p in (run / "calibration").iterdir()} >= {"fidelities.csv", "calibration.json", "calibration.png"}
    assert again.stderr == ""
    third = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert "continuing: 16 trainings" in third.stdout and list(csv.DictReader(path.open())) == after
