"""What a person sees of a full training while it runs."""

import io
import sys

import pandas as pd
import pytest
from rich.console import Console

from nas.errors import ConfigError, NasError
from nas.recipes.full import FullRecipe, Loader
from nas.retraining.command import Machines, Order, show_front_retraining, show_retraining
from nas.retraining.event_log import EventLog
from nas.retraining.progress import RetrainingBar
from nas.retraining.train import Beginning
from nas.space.architecture import Architecture, Stage
from nas.space.reference import design
from nas.training.curve import Epoch, StepProgress
from nas.winners.selection import Chosen

RECIPE = FullRecipe(epochs=4)
EPOCH = Epoch(
    epoch=2, train_loss=1.25, lr=5e-4, seconds=10.0, steps=32, loss=0.4, accuracy=0.91, top5=0.99, raw_accuracy=0.9,
    raw_top5=0.98,
)  # fmt: skip


def console(*, terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=200)


def test_without_a_terminal_there_is_a_line_an_epoch():
    shown = console(terminal=False)
    with RetrainingBar(shown, RECIPE) as bar:
        bar.begin(Beginning(train_images=2000, held_out_images=100, test_images=300, epochs_done=1))
        bar.step(StepProgress(2, 16, 32, 1.3, 6e-4, 1000))
        bar.end_epoch(EPOCH)
        bar.remark("workers were lost, because the node gpu3 is gone; going on from the last checkpoint")
    lines = shown.file.getvalue().splitlines()
    assert lines[0] == ("2,000 training images an epoch, 100 held out to follow it by, 300 test images; going on after epoch 1")
    assert lines[1].startswith(
        "epoch 2/4: loss 1.2500 · lr 5.00e-04 · held out: EMA top-1 91.0 %, top-5 99.0 %, model top-1 90.0 %, top-5 98.0 % · "
        "200 images/s · ETA "
    )
    assert lines[2] == "workers were lost, because the node gpu3 is gone; going on from the last checkpoint" and len(lines) == 3


@pytest.mark.parametrize(("reading", "lines"), [(1.0, 0), (7.2, 1)])
def test_a_training_that_waits_for_images_says_so_once_and_what_helps(reading, lines):
    shown = console(terminal=False)
    with RetrainingBar(shown, FullRecipe(epochs=4, loader=Loader(workers=4))) as bar:
        for _ in range(2):
            bar.end_epoch(EPOCH.model_copy(update={"reading_seconds": reading}))
    told = [line for line in shown.file.getvalue().splitlines() if line.startswith("mind: ")]
    assert len(told) == lines
    if lines:
        assert told[0].startswith("mind: 72% of the time") and "--set loader.workers=8" in told[0]


def test_in_a_terminal_a_bar_tells_of_each_epoch_as_it_goes():
    shown = console(terminal=True)
    with RetrainingBar(shown, RECIPE) as bar:
        bar.begin(Beginning(2000, 0, 300, 0))
        bar.step(StepProgress(1, 16, 32, 1.3, 6e-4, 1000))
        state = bar.bar.tasks[0].fields["state"]
        assert bar.bar.tasks[0].completed == 0.5
    assert state.startswith("epoch 1/4 · ") and " images/s · loss 1.3000 · lr 6.00e-04 · ETA " in state


def test_the_curve_is_written_for_tensorboard(tmp_path):
    log = EventLog(tmp_path)
    log.step(StepProgress(2, 16, 32, 1.3, 6e-4, 1000))
    log.end_epoch(EPOCH)
    log.close()
    (events,) = tmp_path.iterdir()
    content = events.read_bytes()
    assert all(name.encode() in content for name in ("step/train_loss", "epoch/accuracy", "epoch/raw_top5", "epoch/lr"))


def test_without_the_package_for_tensorboard_a_message_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(NasError, match=r"pip install tensorboardX, or leave the option out: curve.csv holds"):
        EventLog(tmp_path)


def test_networks_at_once_need_a_front_and_one_process_each(tmp_path):
    order = Order(RECIPE, tmp_path, 0, "cpu")
    with pytest.raises(ConfigError, match="--parallel 2: must stand with --front"):
        network = Chosen("poolformer_s12", design("poolformer_s12"))
        show_retraining(network, order, Machines(parallel=2), console=console(terminal=False))
    with pytest.raises(ConfigError, match="--workers 2 and --parallel 2: networks can be trained at once, or each"):
        show_front_retraining(tmp_path, [], order, Machines(2, 2), console=console(terminal=False))


@pytest.mark.parametrize("address", ["ray://head:10001", "http://head:8265", "head", "127.0.0.1:1"])
def test_an_address_that_will_not_do_is_refused_before_anything_is_written(tmp_path, address):
    order = Order(RECIPE, tmp_path / "out", 0, "cpu", tensorboard=True)
    network, machines = Chosen("poolformer_s12", design("poolformer_s12")), Machines(address=address)
    with pytest.raises(NasError, match=r"resources\.address"):
        show_retraining(network, order, machines, console=console(terminal=False))
    with pytest.raises(NasError, match=r"resources\.address"):
        show_front_retraining(tmp_path, [network], order, machines, console=console(terminal=False))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_front_is_trained_in_a_queue_and_goes_on_where_it_was(tmp_path):
    recipe = FullRecipe(epochs=1, warmup_epochs=0.5, images_per_class=6, batch_size=16)
    small = Architecture(stages=(Stage(mixer="conv", depth=1, width=8, kernel_size=3),))
    wide = Architecture(stages=(Stage(mixer="pool", depth=1, width=16),))
    broken = Architecture(stages=(*6 * small.stages,))
    members = [
        Chosen("small", small, 0.5, 10, (10,)),
        Chosen("wide", wide, 0.6, 20, (20,)),
        Chosen("broken", broken, 0.7, 30, (30,)),
    ]
    order = Order(recipe, tmp_path, 0, "cpu", tensorboard=True)

    def trained():
        shown = console(terminal=False)
        show_front_retraining(tmp_path / "run", members, order, Machines(parallel=2), console=shown)
        return shown.file.getvalue()

    out = trained()
    rows = pd.read_csv(tmp_path / "retrained.csv").set_index("name")
    assert rows.loc[["small", "wide"], "accuracy"].notna().all()
    assert rows.loc["broken", "cause"].startswith("an image of 32 px is too small") and "broken: an image of 32 px" in out
    assert list((tmp_path / "small" / "tensorboard").iterdir()) and (tmp_path / "retrained.png").is_file()
    before = {name: (tmp_path / name / "result.json").stat().st_mtime_ns for name in ("small", "wide")}
    trained()
    assert {name: (tmp_path / name / "result.json").stat().st_mtime_ns for name in before} == before
