"""A chosen architecture trained in full, resumable, and evaluated once on the test split."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from torch import nn

from nas import __version__
from nas.config import Value, dump_yaml, read_text, validated
from nas.errors import NasError
from nas.files import replacing, write_whole
from nas.space.architecture import Architecture
from nas.training.data import Images, Manifest, load
from nas.training.loop import Diverged, Epoch, OnEpoch, evaluate, fit, keep_going
from nas.training.proxy import as_trained, network, save_weights
from nas.training.recipe import Recipe

CURVE_COLUMNS = ("epoch", "train_loss", "lr", "seconds")


class Result(Value):
    """What a full training came to. Nothing was chosen by the test images: they were seen once, after the last epoch."""

    accuracy: float
    """Top-1 on the test split as a fraction."""
    top5: float
    """1 with fewer than six classes, where it says nothing."""
    loss: float
    """Mean cross-entropy on the test split."""
    train_images: int
    test_images: int
    epochs: int
    seconds: float
    """Summed over the epochs, those before an interruption included."""
    device: str
    versions: dict[str, str]
    setup: dict[str, Any]
    """What was trained: architecture, recipe, manifest hash, seed."""


def retrain(
    architecture: Architecture,
    recipe: Recipe,
    manifest: Manifest,
    *,
    out: Path,
    seed: int = 0,
    device: str | torch.device = "cpu",
    on_epoch: OnEpoch = keep_going,
    root: Path | None = None,
) -> Result:
    """Trains on the whole training split (search-train and search-validation) and writes everything to `out`.

    A call that was cut short goes on from its last epoch; a finished one is read back; another setup in the same `out` is
    refused. There is no accuracy before the end: no image is left to measure it on that is not trained on or the test's.
    `on_epoch` is told of each epoch, its answer is not asked for.
    """
    architecture = as_trained(architecture, recipe)  # what is written down is what is trained
    out, setup = Path(out), _setup(architecture, recipe, manifest, seed)
    if (out / "result.json").exists():
        return _finished(out, setup)
    state = _checkpoint(out, setup)
    train, test = _images(manifest, recipe, root)
    _write_setup(out, architecture, recipe, manifest)
    model = network(architecture, recipe, num_classes=len(manifest.class_names), seed=seed)
    curve = _train(model, train, recipe, out=out, setup=setup, state=state, device=device, on_epoch=on_epoch)
    save_weights(model, out / "model.safetensors")
    score = evaluate(model, test, recipe, device=device)
    result = Result(
        **score._asdict(),
        train_images=len(train.labels),
        test_images=len(test.labels),
        epochs=len(curve),
        seconds=round(sum(epoch.seconds for epoch in curve), 2),
        device=device_name(device),
        versions={"nas": __version__, "torch": torch.__version__, "timm": timm.__version__},
        setup=setup,
    )
    write_whole(out / "result.json", result.model_dump_json(indent=1))
    return result


def _images(manifest: Manifest, recipe: Recipe, root: Path | None) -> tuple[Images, Images]:
    """The whole training split, and the test split, decoded before hours are spent on training."""
    *parts, test = (load(manifest, split, image_size=recipe.full_size, root=root) for split in ("train", "validation", "test"))
    return Images(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))), test


def _train(
    model: nn.Module,
    train: Images,
    recipe: Recipe,
    *,
    out: Path,
    setup: dict[str, Any],
    state: dict[str, Any] | None,
    device: str | torch.device,
    on_epoch: OnEpoch,
) -> list[Epoch]:
    """The whole curve; after each epoch a checkpoint and `curve.csv` lie in `out`."""
    curve = [Epoch(**epoch) for epoch in state["curve"]] if state else []

    def told(epoch: Epoch) -> None:
        curve.append(epoch)
        _write_curve(out, curve)
        on_epoch(epoch)

    try:
        save = _saver(out, setup)
        return fit(model, train, None, recipe, seed=setup["seed"], device=device, on_epoch=told, state=state, save=save)
    except Diverged as error:
        raise NasError(f"{out}: the training diverged: {error}. Lower lr={recipe.lr}, or set clip_grad.") from None


def _setup(architecture: Architecture, recipe: Recipe, manifest: Manifest, seed: int) -> dict[str, Any]:
    """What must be equal for a training to go on; where the data lies may change."""
    return {
        "architecture": architecture.to_dict(),
        "recipe": recipe.model_dump(mode="json", exclude={"data"}),
        "manifest": manifest.hash,
        "seed": seed,
    }


def _finished(out: Path, setup: dict[str, Any]) -> Result:
    path = out / "result.json"
    result = validated(Result, json.loads(read_text(path)), where=str(path))
    _refuse_other(out, result.setup, setup)
    return result


def _checkpoint(out: Path, setup: dict[str, Any]) -> dict[str, Any] | None:
    """The state that an earlier call left, or None."""
    path = out / "checkpoint.pt"
    if not path.exists():
        return None
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        there, state = found["setup"], found["state"]
    except Exception as error:  # torch names no exception for a file that is not its own
        why = " ".join(str(error).split())[:200]
        raise NasError(f"{path}: must be a checkpoint, but can't be read: {why}. Delete it to start anew.") from None
    _refuse_other(out, there, setup)
    return state


def _refuse_other(out: Path, there: dict[str, Any], here: dict[str, Any]) -> None:
    there, here = _flat(there), _flat(here)
    changes = [f"{k}: {there.get(k)} there, {here.get(k)} here" for k in sorted(there | here) if there.get(k) != here.get(k)]
    if changes:
        raise NasError(f"{out}: holds another training: {'; '.join(changes)}. Choose another --out, or delete that folder.")


def _flat(data: Any, path: str = "") -> dict[str, Any]:
    """Leaves by dotted path."""
    if isinstance(data, (dict, list, tuple)) and data:
        pairs = data.items() if isinstance(data, dict) else enumerate(data)
        parts = [_flat(value, f"{path}.{key}" if path else str(key)) for key, value in pairs]
        return {name: leaf for part in parts for name, leaf in part.items()}
    return {path: data}


def _saver(out: Path, setup: dict[str, Any]):
    def save(state: dict[str, Any]) -> None:
        buffer = io.BytesIO()  # torch reports a full disk as a RuntimeError without a reason; writing bytes reports it properly
        torch.save({"setup": setup, "state": state}, buffer)
        with replacing(out / "checkpoint.pt") as temporary:
            temporary.write_bytes(buffer.getbuffer())

    return save


def _write_setup(out: Path, architecture: Architecture, recipe: Recipe, manifest: Manifest) -> None:
    write_whole(out / "architecture.json", json.dumps(architecture.to_dict(), indent=1))
    write_whole(out / "recipe.yaml", dump_yaml(recipe.model_dump(mode="json")))
    manifest.write(out / "manifest.json")


def _write_curve(out: Path, curve: list[Epoch]) -> None:
    rows = [",".join(str(getattr(epoch, column)) for column in CURVE_COLUMNS) for epoch in curve]
    write_whole(out / "curve.csv", "\n".join([",".join(CURVE_COLUMNS), *rows]) + "\n")


def device_name(device: str | torch.device) -> str:
    """The device in words, such as "cpu (AMD EPYC, 1 thread)" or a graphics card's name."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = torch.cpu.get_capabilities().get("cpu_name", "unknown")
    return f"{device.type} ({name}, {torch.get_num_threads()} thread{'s' if torch.get_num_threads() > 1 else ''})"
