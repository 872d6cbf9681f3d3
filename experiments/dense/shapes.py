"""Found networks as backbones: a segmenter and a detector on drawn shapes, all trained from random weights.

    python experiments/dense/shapes.py exported/31 exported/0 timm:mobilenetv3_small_075 --out experiments/dense/shapes.csv

A backbone is a directory of `nas export` or timm:NAME. The segmenter is segmentation-models-pytorch's FPN, the detector
torchvision's FCOS on its feature pyramid. Started again it goes on where it was. Needs: pip install segmentation-models-pytorch
"""

import argparse
import csv
import importlib.util
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import segmentation_models_pytorch as smp
import timm
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, box_iou

KINDS = ("circle", "square", "triangle")
SIDE, TRAIN, TEST, BATCH, EPOCHS, PYRAMID = 64, 128, 64, 16, 8, 32
COLUMNS = ("task", "backbone", "seed", "score", "seconds")


class Shapes(NamedTuple):
    """Images `(N, 3, S, S)`, what each pixel belongs to `(N, S, S)`, and of each image boxes and labels."""

    images: Tensor
    masks: Tensor
    targets: list[dict[str, Tensor]]


def drawn_shapes(number: int, seed: int) -> Shapes:
    """One to three shapes an image on a noisy ground."""
    rng = np.random.default_rng(seed)
    images, masks, targets = [], [], []
    for _ in range(number):
        image = Image.fromarray(rng.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8))
        mask, boxes, labels = Image.new("L", (SIDE, SIDE)), [], []
        for _ in range(rng.integers(1, 4)):
            side, kind = int(rng.integers(14, 32)), int(rng.integers(len(KINDS)))
            x, y = (int(value) for value in rng.integers(0, SIDE - side, 2))
            box = (x, y, x + side, y + side)
            for surface, fill in ((image, tuple(int(v) for v in rng.integers(80, 256, 3))), (mask, kind + 1)):
                _draw(ImageDraw.Draw(surface), KINDS[kind], box, fill)
            boxes.append(box)
            labels.append(kind + 1)
        images.append(torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1)
        masks.append(torch.from_numpy(np.array(mask)).long())
        targets.append({"boxes": torch.tensor(boxes, dtype=torch.float32), "labels": torch.tensor(labels)})
    return Shapes(torch.stack(images), torch.stack(masks), targets)


def _draw(surface: ImageDraw.ImageDraw, kind: str, box: tuple[int, int, int, int], fill: object) -> None:
    left, top, right, bottom = box
    if kind == "circle":
        surface.ellipse(box, fill=fill)
    elif kind == "square":
        surface.rectangle(box, fill=fill)
    else:
        surface.polygon([(left, bottom), (right, bottom), ((left + right) // 2, top)], fill=fill)


def registered(backbone: str) -> str:
    """The name under which timm makes a backbone; SystemExit for one that fits another image size only."""
    if backbone.startswith("timm:"):
        return backbone.removeprefix("timm:")
    config = json.loads((Path(backbone) / "config.json").read_text())
    settings = config["pretrained_cfg"]
    if settings["fixed_input_size"] and settings["input_size"][-1] != SIDE:
        raise SystemExit(
            f"{backbone}: has weights that belong to positions (random mixing, SpatialFC or embedded positions) and takes "
            f"images of {settings['input_size'][-1]} px only, not {SIDE}. Choose a network of `nas front RUN --for dense`."
        )
    stub = Path(backbone) / "model.py"
    if stub.is_file():
        spec = importlib.util.spec_from_file_location(config["architecture"], stub)
        assert spec is not None and spec.loader is not None
        sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return config["architecture"]


def batches(shapes: Shapes, seed: int) -> Iterator[list[int]]:
    """Places of the images of each step of all epochs."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        yield from torch.randperm(len(shapes.images), generator=generator).split(BATCH)


def fitted(model: nn.Module, shapes: Shapes, seed: int, loss_of) -> nn.Module:
    """The model after its training, in eval mode."""
    steps = EPOCHS * -(-len(shapes.images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps)
    model.train()
    for places in batches(shapes, seed):
        optimizer.zero_grad()
        loss_of(model, places).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def segmented(name: str, train: Shapes, test: Shapes, seed: int) -> float:
    """Mean intersection over union of the ground and the three shapes."""
    model = smp.FPN(f"tu-{name}", encoder_weights=None, classes=1 + len(KINDS), decoder_pyramid_channels=PYRAMID)
    fitted(model, train, seed, lambda m, p: functional.cross_entropy(m(train.images[p]), train.masks[p]))
    with torch.inference_mode():
        found = torch.cat([model(part).argmax(dim=1) for part in test.images.split(BATCH)])
    each = [((found == k) & (test.masks == k)).sum() / ((found == k) | (test.masks == k)).sum() for k in range(1 + len(KINDS))]
    return float(torch.stack(each).mean())


class Pyramid(nn.Module):
    """A timm backbone's maps at strides 8, 16 and 32 with torchvision's feature pyramid behind them."""

    def __init__(self, name: str):
        super().__init__()
        self.body = timm.create_model(name, pretrained=False, features_only=True)
        info = self.body.feature_info
        self.taken = [i for i, stride in enumerate(info.reduction()) if stride in (8, 16, 32)]
        self.pyramid = FeaturePyramidNetwork([info.channels()[i] for i in self.taken], PYRAMID)
        self.out_channels = PYRAMID

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Maps by name, `(B, PYRAMID, H, W)` each."""
        maps = self.body(images)
        return self.pyramid({str(i): maps[i] for i in self.taken})


def detected(name: str, train: Shapes, test: Shapes, seed: int) -> float:
    """Average precision at an overlap of one half, a mean over the shapes."""
    anchors = AnchorGenerator(sizes=((8,), (16,), (32,)), aspect_ratios=((1.0,),) * 3)
    model = FCOS(
        Pyramid(name), 1 + len(KINDS), min_size=SIDE, max_size=SIDE, anchor_generator=anchors,
        image_mean=[0.0] * 3, image_std=[1.0] * 3,
    )  # fmt: skip

    def loss_of(m: nn.Module, places: list[int]) -> Tensor:
        return sum(m([train.images[i] for i in places], [train.targets[i] for i in places]).values())

    fitted(model, train, seed, loss_of)
    with torch.inference_mode():
        found = [each for part in test.images.split(BATCH) for each in model(list(part))]
    return float(np.mean([_precision(found, test.targets, kind) for kind in range(1, 1 + len(KINDS))]))


def _precision(found: list[dict[str, Tensor]], targets: list[dict[str, Tensor]], kind: int) -> float:
    """Area under precision by recall of one shape, each box of a target matched once, the surest first."""
    hits, number = [], sum(int((t["labels"] == kind).sum()) for t in targets)
    for one, target in zip(found, targets, strict=True):
        own, true, free = one["labels"] == kind, target["boxes"][target["labels"] == kind], set(range(1000))
        overlaps = box_iou(one["boxes"][own], true)
        for score, row in sorted(zip(one["scores"][own].tolist(), overlaps, strict=True), key=lambda pair: -pair[0]):
            best = max((i for i in range(len(true)) if i in free), key=lambda i: float(row[i]), default=None)
            hit = best is not None and float(row[best]) >= 0.5
            free -= {best} if hit else set()
            hits.append((score, hit))
    right = np.cumsum([hit for _, hit in sorted(hits, key=lambda pair: -pair[0])])
    precision = np.maximum.accumulate((right / np.arange(1, len(right) + 1))[::-1])[::-1]
    return float((precision * np.diff(right, prepend=0)).sum() / number) if len(right) else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backbones", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = {backbone: registered(backbone) for backbone in arguments.backbones}  # or its error, before anything is trained
    train, test, done = drawn_shapes(TRAIN, 0), drawn_shapes(TEST, 1), set()
    if arguments.out.is_file():
        with arguments.out.open() as file:
            done = {(row["task"], row["backbone"], row["seed"]) for row in csv.DictReader(file)}
    with arguments.out.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not done:
            writer.writeheader()
        for seed in range(arguments.seeds):
            for task, run in (("segmenter, mean IoU", segmented), ("detector, AP at 0.5", detected)):
                for backbone, name in names.items():
                    label = backbone if backbone.startswith("timm:") else Path(backbone).name
                    if (task, label, str(seed)) in done:
                        continue
                    torch.manual_seed(seed)
                    began = time.perf_counter()
                    score = run(name, train, test, seed)
                    seconds = f"{time.perf_counter() - began:.0f}"
                    writer.writerow(
                        {"task": task, "backbone": label, "seed": seed, "score": f"{score:.4f}", "seconds": seconds}
                    )
                    file.flush()


if __name__ == "__main__":
    main()
