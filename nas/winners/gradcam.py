"""Where a network looks: Grad-CAM overlays of one or several networks side by side. arXiv:1610.02391."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from textwrap import wrap
from typing import Any, NamedTuple

import numpy as np
import timm
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from nas.data.decoding import as_rgb, decode
from nas.data.source import open_image
from nas.errors import ConfigError, NasError, in_one_line
from nas.files import replacing
from nas.training.trained import (
    TIMM_PREFIX,
    Network,
    as_described_by_timm,
    cached_weights,
    folder_network,
    own_network,
    timm_network,
)
from nas.units import percent
from nas.winners.lookup import is_number, trained_trial

SIGNED, SIGNATURE = "Software", "nas gradcam"  # in a PNG: whose picture it is
SMALLEST_SIDE = 8  # pixels of an image; scikit-learn's digits have so many
SHOWN_SIDE = 320  # pixels of a panel: the map of a small network is shown larger than what the network saw
PANEL_INCHES, LINE_INCHES, DPI = 2.8, 0.2, 120
TITLE_POINTS, TITLE_LETTERS = 9, 36
IMAGE_WEIGHT = 0.55  # of the image in an overlay: the object stays to be seen under its map


class Heat(NamedTuple):
    """What a network finds in an image and where."""

    map: np.ndarray
    """float32 `(S, S)` from 0 to 1, the network's last map brought to the size of its input."""
    class_name: str
    probability: float
    layer: str
    """The module whose map it is."""
    is_last: bool
    """Whether that is the network's last map; before it, it has more positions and fewer meanings."""


def write_maps(checkpoints: list[str], images: list[Path], out: Path, *, image_size: int | None = None) -> list[Path]:
    """A PNG in `out` for each image: the image, then every network's map of the class that it predicts.

    `image_size` replaces the size that each network was trained at. NasError for what can't be loaded, read or mapped.
    """
    files: list[Path] = []
    for path in images:
        files.append(_free_name(out / f"{path.stem}.png", files))
        _refuse_foreign(files[-1])
    pictures = [read_image(path) for path in images]
    networks = {name: load_checkpoint(name) for name in checkpoints}
    heats = [
        {name: heat(network, picture, name=name, image_size=image_size) for name, network in networks.items()}
        for picture in pictures
    ]
    for file, path, picture, shown in zip(files, images, pictures, heats, strict=True):
        with replacing(file, way_out="Give another --out") as temporary:
            figure(picture, shown, title=path.name).savefig(temporary, format="png", metadata={SIGNED: SIGNATURE})
    return files


def _refuse_foreign(file: Path) -> None:
    """NasError where a picture would take the place of something that no call of ours drew, such as the photo itself."""
    if not os.path.lexists(file):
        return
    try:
        with open_image(file) as image:
            is_own = image.info.get(SIGNED) == SIGNATURE
    except (OSError, ValueError, SyntaxError):
        is_own = False
    if not is_own:
        raise NasError(f"{file}: is a file of your own, which the map would take the place of. Choose another --out.")


def split_targets(targets: list[str]) -> tuple[list[str], list[Path]]:
    """Checkpoints and images among the arguments: what has the ending of an image file is one."""
    endings = Image.registered_extensions()
    images = [Path(target) for target in targets if Path(target).suffix.lower() in endings]
    checkpoints = [target for target in targets if Path(target) not in images]
    if not images or not checkpoints:
        raise ConfigError(
            f"there must be at least one checkpoint and one image, but got {len(checkpoints)} and {len(images)} "
            "(an image has the ending of one, such as .jpg or .png). Example: nas gradcam exported/17 cat.jpg --out maps"
        )
    return checkpoints, images


def read_image(path: Path) -> Image.Image:
    """The image in a file; ConfigError where there is none or it is too small."""
    try:
        if path.exists() and not path.is_file():
            raise ValueError("it is no file")
        with open_image(path) as image:
            rgb = as_rgb(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises for broken files
        why = getattr(error, "strerror", None) or in_one_line(error)
        raise ConfigError(f"{path}: must be an image that can be read, but: {why}. Check the path and the file.") from None
    if min(image.size) < SMALLEST_SIDE:
        raise ConfigError(
            f"{path}: must have at least {SMALLEST_SIDE} px a side, but has {image.width}x{image.height}. Choose a larger one."
        )
    return rgb


def load_checkpoint(checkpoint: str) -> Network:
    """The network of a folder of `nas export` or `nas retrain`, of RUN:TRIAL, or of a timm model's name."""
    run, colon, number = checkpoint.rpartition(":")
    if colon and is_number(number):
        trained = trained_trial(Path(run), int(number))
        size = trained.recipe.full_size
        return Network(
            own_network(trained.architecture, trained.weights, image_size=size), size, class_names=trained.manifest.class_names
        )
    if Path(checkpoint).is_dir():
        return folder_network(Path(checkpoint))
    name = checkpoint.removeprefix(TIMM_PREFIX)
    if timm.is_model(name):
        return timm_network(name) if cached_weights(name) else random_network(name)
    raise ConfigError(
        "a checkpoint must be a folder of `nas retrain` or `nas export`, RUN:TRIAL or a timm model's name, "
        f"but got {checkpoint}. Check the path."
    )


def random_network(name: str) -> Network:
    """timm's model of that name as it is drawn, for want of weights on this machine; always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return as_described_by_timm(timm.create_model(name))


def is_random(checkpoint: str) -> bool:
    """Whether `load_checkpoint` finds no weights for this name and draws them."""
    name = checkpoint.removeprefix(TIMM_PREFIX)
    return not Path(checkpoint).is_dir() and timm.is_model(name) and cached_weights(name) is None


def heat(network: Network, picture: Image.Image, *, name: str, image_size: int | None = None) -> Heat:
    """The map of the class that the network predicts; NasError where it can't take that size or has no map to show."""
    cam_class = _library()
    model, size = network.model, image_size or network.image_size
    images = _input(network, picture, size)
    try:
        layer = target_layer(model, images, name=name)
        cam = cam_class(model, [model.get_submodule(layer)], reshape_transform=lambda x: as_map(x, model))
        heat_map = cam(images, targets=None)[0]  # (S, S)
    except (RuntimeError, ValueError, AssertionError) as error:  # too few pixels, or weights for each position; timm has all
        why = in_one_line(error).rstrip(".")
        raise NasError(f"{name}: must take images of {size} px, but: {why}. Choose another --image-size.") from None
    cam.activations_and_grads.release()
    probability, number = (x.item() for x in cam.outputs[0].detach().softmax(dim=0).max(dim=0))
    class_name = network.class_names[number] if network.class_names else f"class {number}"
    return Heat(heat_map, class_name, probability, layer, is_last=layer.startswith(_maps(model, name)[-1]))


def target_layer(model: nn.Module, images: Tensor, *, name: str) -> str:
    """The module whose output is weighed: the last stage that has at least 2x2 positions left.

    Where there are blocks alone it is the norm before the token mixing: behind a ViT's last nothing but the class token
    reaches the head, so that the gradient of all others is zero.
    """
    layers = [f"{layer}.norm1" if hasattr(model.get_submodule(layer), "norm1") else layer for layer in _maps(model, name)]
    sides: dict[str, int] = {}
    handles = [
        model.get_submodule(layer).register_forward_hook(
            lambda _, __, output, layer=layer: sides.update({layer: min(as_map(output, model).shape[2:])})
        )
        for layer in layers
    ]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    chosen = next((layer for layer in reversed(layers) if sides[layer] > 1), None)
    if chosen is None:
        raise NasError(
            f"{name}: a map must have at least 2x2 positions to show where, but there is none at {images.shape[-1]} px. "
            "Choose a larger --image-size, or another network."
        )
    return chosen


def _maps(model: nn.Module, name: str) -> list[str]:
    """The modules that a timm model, or one of ours, says to give its feature maps."""
    info = getattr(model, "feature_info", None)
    if not info or "module" not in info[-1]:
        raise NasError(f"{name}: must say what gives its feature maps (feature_info), but does not. Choose another model.")
    return [stage["module"] for stage in info]


def _input(network: Network, picture: Image.Image, size: int) -> Tensor:
    """`(1, 3, size, size)`, normalised as the network was trained."""
    pixels = np.float32(decode(picture, size)) / 255
    normal = (pixels - np.asarray(network.mean, np.float32)) / np.asarray(network.std, np.float32)  # (size, size, 3)
    return torch.from_numpy(normal).permute(2, 0, 1)[None]  # (1, 3, size, size)


def as_map(x: Tensor, model: nn.Module) -> Tensor:
    """`(B, C, H, W)` from any of timm's layouts: that, `(B, H, W, C)`, or tokens with others before them."""
    if x.dim() == 3:
        x = x[:, getattr(model, "num_prefix_tokens", 0) :]  # (B, N, C)
        return x.transpose(1, 2).unflatten(2, (math.isqrt(x.shape[1]), -1))  # (B, C, H, W)
    return x.permute(0, 3, 1, 2) if getattr(model, "output_fmt", "NCHW") == "NHWC" else x  # (B, C, H, W)


def _library() -> Callable[..., Any]:
    try:
        from pytorch_grad_cam import GradCAM
    except ImportError as error:
        raise NasError(
            f"Grad-CAM needs the package grad-cam, but {error}. Install it: pip install 'metaformer-nas[gradcam]'"
        ) from None
    return GradCAM


def figure(picture: Image.Image, heats: dict[str, Heat], *, title: str) -> Figure:
    """The image and its overlays in one row, each with the network's name, its class and its probability."""
    titles = [_lines(title), *("\n".join(map(_lines, caption(name, heat_map))) for name, heat_map in heats.items())]
    height = PANEL_INCHES + LINE_INCHES * (1 + max(text.count("\n") for text in titles))
    drawing = Figure(figsize=(PANEL_INCHES * len(titles), height), dpi=DPI, layout="constrained")
    panels, pixels = drawing.subplots(1, len(titles)), decode(picture, SHOWN_SIDE)
    for panel, text, shown in zip(panels, titles, [pixels, *(_overlay(pixels, h) for h in heats.values())], strict=True):
        panel.imshow(shown)
        panel.set_title(text, fontsize=TITLE_POINTS, parse_math=False)
        panel.set_axis_off()
        panel.set_anchor("S")  # what is left above belongs to the titles
    return drawing


def _overlay(pixels: np.ndarray, heat_map: Heat) -> np.ndarray:
    """The map in colours over the image; uint8 `(H, W, 3)` is kept."""
    from pytorch_grad_cam.utils.image import show_cam_on_image

    mask = np.asarray(Image.fromarray(heat_map.map).resize(pixels.shape[:2], Image.Resampling.BICUBIC)).clip(0, 1)
    return show_cam_on_image(np.float32(pixels) / 255, mask, use_rgb=True, image_weight=IMAGE_WEIGHT)


def caption(checkpoint: str, shown: Heat) -> list[str]:
    """What stands above a network's panel: its name, what it predicts, and a word where the map can't be read as usual."""
    folder = ":" in checkpoint or Path(checkpoint).is_dir()
    lines = [Path(checkpoint).name if folder else checkpoint, f"{shown.class_name}, {percent(shown.probability)}"]
    if is_random(checkpoint):
        lines.append("(random weights)")
    if not shown.is_last:
        lines.append(f"(map of {shown.layer}, the last is 1x1)")
    if not shown.map.any():
        lines.append("(no position speaks for this class)")
    return lines


def _lines(text: str) -> str:
    return "\n".join(wrap(text, TITLE_LETTERS))


def _free_name(path: Path, taken: list[Path]) -> Path:
    """`path`, with a number where an image of the same name came before it."""
    numbered = (path.with_stem(f"{path.stem}-{i}") for i in range(2, len(taken) + 2))
    return next((p for p in (path, *numbered) if p not in taken), path)
