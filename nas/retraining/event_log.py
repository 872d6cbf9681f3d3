"""A training's curve as TensorBoard events, if the package that writes them is installed."""

from pathlib import Path

from nas.errors import NasError
from nas.training.curve import Epoch, StepProgress

SCALARS = ("train_loss", "lr", "accuracy", "top5", "loss", "raw_accuracy", "raw_top5", "seconds")


class EventLog:
    """Writes events into a folder that `tensorboard --logdir` shows; of a training that goes on, what follows is overlaid."""

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise NasError(
                "--tensorboard: must have the package tensorboardX to write events with, but it is not installed. "
                "Run pip install tensorboardX, or leave the option out: curve.csv holds the same numbers."
            ) from None
        self.writer = SummaryWriter(str(folder))

    def step(self, progress: StepProgress) -> None:
        """The loss within an epoch."""
        position = (progress.epoch - 1) * progress.steps + progress.step
        self.writer.add_scalar("step/train_loss", progress.loss, position)
        self.writer.add_scalar("step/lr", progress.lr, position)

    def end_epoch(self, epoch: Epoch) -> None:
        """What an epoch gave; the file is complete up to here."""
        for name in SCALARS:
            if (value := getattr(epoch, name)) is not None:
                self.writer.add_scalar(f"epoch/{name}", value, epoch.epoch)
        self.writer.flush()

    def close(self) -> None:
        """Ends the file."""
        self.writer.close()
