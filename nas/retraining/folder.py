"""What lies in the folder of a full training, and whether a training may go on in it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from filelock import Timeout
from safetensors.torch import save
from torch import Tensor

from nas.config.layers import changed_settings
from nas.config.text import dump_yaml, read_json
from nas.config.values import Value, validated
from nas.data.manifest import Manifest, read_manifest
from nas.errors import NasError
from nas.files import KernelLock, replacing, writable, write_whole
from nas.recipes.by_size import settled
from nas.recipes.full import ELSEWHERE, FullRecipe, read_full_recipe
from nas.run.folder import RunFolder
from nas.space.architecture import Architecture, read_architecture
from nas.space.plugins.plugin import PLUGINS_FOLDER, plugins_of
from nas.terminal import command
from nas.training.checkpoints import read_checkpoint, write_checkpoint
from nas.training.curve import Epoch
from nas.training.proxy import plain
from nas.winners.lookup import Trained, seen_in_memory

ENDING_SECONDS = 20
LEFT = {".lock", "checkpoint.pt", "result.json"}  # of these one lies in all such folders, and in no other
VIEWS = "by image"  # how a loader's draws come about; those of checkpoints without this word went by decoding process
CURVE_COLUMNS = (
    "epoch",
    "train_loss",
    "lr",
    "accuracy",
    "top5",
    "loss",
    "raw_accuracy",
    "raw_top5",
    "seconds",
    "reading_seconds",
)


class Result(Value):
    """What a full training came to. Nothing was chosen by the test images: they were seen once, after the last epoch."""

    accuracy: float
    """Top-1 on the test split as a fraction."""
    top5: float
    """1 with fewer than six classes, where it says nothing."""
    loss: float
    """Mean cross-entropy on the test split."""
    train_images: int
    """Trained on in an epoch."""
    test_images: int
    epochs: int
    kept_epoch: int
    """Whose weights were tested."""
    seconds: float
    """Summed over the epochs, those before an interruption included."""
    device: str
    processes: int
    versions: dict[str, str]
    setup: dict[str, Any]
    """What was trained: architecture, recipe, manifest hash, seed."""


class RetrainingFolder:
    """The folder `root` of the training that `setup` describes; nothing in it is ever seen half written."""

    def __init__(self, root: Path, setup: dict[str, Any]):
        self.root, self.setup = Path(root), setup

    @property
    def weights(self) -> Path:
        """The network that was kept in the end."""
        return self.root / "model.safetensors"

    @property
    def best(self) -> Path:
        """The weights that were the best so far on the held-out images."""
        return self.root / "best.safetensors"

    @property
    def unreadable(self) -> Path:
        """Images that a loader could not read."""
        return self.root / "unreadable.tsv"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keeps other trainings out of the folder; of a killed one's, what is still ending is waited for a little."""
        with writable(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
        lock = KernelLock(self.root / ".lock")
        try:
            lock.acquire(seconds=ENDING_SECONDS)
        except Timeout:
            raise NasError(
                f"{self.root}: must be trained in by one command at a time, but another one is at work there. "
                "Wait for it, end it, or choose another --out."
            ) from None
        try:
            yield
        finally:
            lock.release()

    def result(self) -> Result | None:
        """What the training came to if it has ended; NasError where it was another one."""
        path = self.root / "result.json"
        if not path.exists():
            return None
        written = validated(Result, read_json(path), where=str(path))
        self._refuse_other(written.setup)
        return written

    def write_result(self, result: Result) -> None:
        """Ends the training."""
        write_whole(self.root / "result.json", result.model_dump_json(indent=1))

    def state(self) -> dict[str, Any] | None:
        """What `fit` goes on from, or None; NasError where it is another training's, or can't be read."""
        checkpoint = read_checkpoint(self.root / "checkpoint.pt", "setup", "state")
        if checkpoint is None:
            return None
        self._refuse_other(checkpoint["setup"])
        if self.setup["recipe"]["loader"] is not None and "views" not in checkpoint:
            raise NasError(
                f"{self.root}: was begun by an earlier version, whose loader draws other augmentation from the same seed: what "
                "came of both could not be repeated. Finish it with that version, or choose another --out."
            )
        return checkpoint["state"]

    def save(self, state: dict[str, Any]) -> None:
        """Puts down what `fit` goes on from."""
        write_checkpoint(self.root / "checkpoint.pt", {"setup": self.setup, "state": state, "views": VIEWS})

    def write_weights(self, path: Path, tensors: Mapping[str, Tensor]) -> None:
        """A state dictionary as safetensors."""
        with replacing(path) as temporary:
            temporary.write_bytes(save(plain(tensors)))

    def write_setup(self, architecture: Architecture, recipe: FullRecipe, manifest: Manifest) -> None:
        """What is trained, for people and for other verbs."""
        plugins = plugins_of(architecture.stages)
        for plugin in plugins:
            write_whole(self.root / PLUGINS_FOLDER / plugin.copy_name, plugin.source)
        described = [plugin.described(file=str(PLUGINS_FOLDER / plugin.copy_name)) for plugin in plugins]
        whole = {"architecture": architecture.to_dict(), "plugins": described} if described else architecture.to_dict()
        write_whole(self.root / "architecture.json", json.dumps(whole, indent=1))
        write_whole(self.root / "recipe.yaml", dump_yaml(recipe.model_dump(mode="json")))
        manifest.write(self.root / "manifest.json")

    def write_curve(self, curve: list[Epoch]) -> None:
        """The epochs so far as curve.csv."""
        rows = [[getattr(epoch, column) for column in CURVE_COLUMNS] for epoch in curve]
        lines = [",".join("" if value is None else str(value) for value in row) for row in rows]
        write_whole(self.root / "curve.csv", "\n".join([",".join(CURVE_COLUMNS), *lines]) + "\n")

    def refuse_others(self) -> None:
        """NasError where the folder holds something that no training left there, such as a recipe of the user's own, or where
        another command trains in it."""
        there = {path.name for path in self.root.iterdir()} if self.root.is_dir() else set()
        own = {name for name in there if not name.startswith(".")} - {"tensorboard"}  # written before the training's first file
        if own and not there & LEFT:
            raise NasError(f"{self.root}: must be new or hold a training, but holds {min(own)}. Choose another --out.")
        if ".lock" in there:
            with self.alone():  # waits for one that is still ending
                return

    def _refuse_other(self, there: dict[str, Any]) -> None:
        changed = changed_settings(_with_defaults(there), self.setup)
        if changed:
            lines = "; ".join(f"{path}: {other} there, {own} here" for path, (other, own) in changed.items())
            raise NasError(f"{self.root}: holds another training: {lines}. Choose another --out, or delete that folder.")


def setup_of(architecture: Architecture, recipe: FullRecipe, manifest: Manifest, seed: int) -> dict[str, Any]:
    """What must be equal for a training to go on; where the data lies and what it runs on may change."""
    return {
        "architecture": architecture.to_dict(),
        "recipe": recipe.model_dump(mode="json", exclude=ELSEWHERE),
        "manifest": manifest.hash,
        "seed": seed,
    }


def _with_defaults(setup: dict[str, Any]) -> dict[str, Any]:
    """A setup with the defaults of settings that recipes did not have when it was written: their trainings went by them."""
    return {**setup, "recipe": {**FullRecipe().model_dump(mode="json", exclude=ELSEWHERE), **setup.get("recipe", {})}}


def result_in(root: Path) -> Result:
    """What the finished training in a folder came to."""
    return validated(Result, read_json(root / "result.json"), where=str(root / "result.json"))


def trained_folder(root: Path) -> Trained:
    """The weights that `nas retrain` left in `root`; NasError if it did not finish there."""
    if RunFolder(root).search_yaml.is_file():
        raise NasError(f"{root}: is a search's folder. Say which network: {root}:NUMBER, see `{command('front', root)}`.")
    if not (root / "result.json").is_file():
        raise NasError(
            f"{root}: is neither a run nor a finished retraining: it holds neither search.yaml nor result.json. Give another."
        )
    result = result_in(root).model_dump(mode="json")
    setup = result["setup"]
    origin = read_json(root / "origin.json") if (root / "origin.json").is_file() else {}
    provenance = {**origin, "accuracy": result["accuracy"], "split": "test", **setup, "versions": result["versions"]}
    recipe, manifest = read_full_recipe(root / "recipe.yaml"), read_manifest(root / "manifest.json")
    architecture, weights = read_architecture(root / "architecture.json"), root / "model.safetensors"
    if recipe.loader is None:
        return Trained(architecture, weights, recipe, manifest, provenance, seen_in_memory)
    from nas.retraining.loader import JUDGED_BY, loader_of, seen_by_loader

    recipe = recipe.for_network(architecture)
    seen, crop = partial(seen_by_loader, recipe), settled(loader_of(recipe).test_crop)
    return Trained(architecture, weights, recipe, manifest, provenance, seen, JUDGED_BY, crop)
