"""Stages that measure: images a second as data is fed in several ways, compiling, graphs, several trials on a card, latency."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from setting import CLASSES, Setting, images, network, recipe, small_hybrid
from torch import Tensor, nn
from torch.utils.data import default_collate

from nas.data.decoding import AS_STORED
from nas.data.manifest import Images
from nas.data.source import open_image
from nas.devices.conditions import Conditions
from nas.devices.measure import measure
from nas.models.reparam import deployed
from nas.recipes.full import FullRecipe, Loader
from nas.recipes.recipe import Recipe
from nas.retraining.data import data_of, manifest_of
from nas.retraining.loader import augmented, views_of
from nas.space.cost import cost
from nas.space.reference import design
from nas.training.augment import augment
from nas.training.batches import InMemory, UpdateShare
from nas.training.evaluation import autocast
from nas.training.loop import fit
from nas.training.loss import Batch

PASSES = 3  # a backward pass costs two forward ones
PEAK_SIDE = 8192


def shared_card(setting: Setting, scratch: Path) -> dict[str, Any]:
    """Trials an hour with one, two and four trials at once on the device."""
    found = {}
    for number in (1, 2) if setting.dry else (1, 2, 4):
        context = torch.multiprocessing.get_context("fork" if setting.dry else "spawn")
        ready, trained = context.Barrier(number), context.SimpleQueue()
        trials = [context.Process(target=_trial, args=(setting, number, ready, trained)) for _ in range(number)]
        for process in trials:
            process.start()
        seconds = [trained.get() for _ in trials]
        for process in trials:
            process.join()
        found[f"at_once_{number}"] = round(number * 3600 / statistics.mean(seconds))
    return {f"trials_an_hour_{name}": rate for name, rate in found.items()}


def _trial(setting: Setting, number: int, ready: Any, trained: Any) -> None:
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // number))
    if setting.is_cuda:
        torch.cuda.set_per_process_memory_fraction(0.9 / number, setting.torch_device)
    way = recipe(setting)
    data = images(setting.of(6000, 64), way.full_size)
    fit(network(setting), images(way.batch_size, way.full_size), None, way, seed=0, device=setting.device)  # warm
    ready.wait()
    began = time.perf_counter()
    fit(network(setting), data, None, way, seed=0, device=setting.device)
    trained.put(time.perf_counter() - began)


class Fed(InMemory):
    """A proxy's batches whose pixels lie pinned, or on the device from the beginning."""

    def __init__(self, data: Images, way: Recipe, place: Callable[[Tensor], Tensor]):
        super().__init__(data, way)
        self.pixels, self.labels = place(torch.from_numpy(data.pixels)), place(torch.from_numpy(data.labels))

    def epoch(self, number: int, *, seed: int, device: torch.device) -> Iterator[UpdateShare]:
        """Whole batches in a drawn order; the next one is copied while this one is computed."""
        generator = torch.Generator(device).manual_seed(seed)
        for chosen in torch.randperm(self.num_images).to(self.pixels.device).tensor_split(self.steps):
            pixels, labels = self.pixels[chosen], self.labels[chosen]
            if pixels.device != device and device.type == "cuda":
                pixels, labels = (part.pin_memory().to(device, non_blocking=True) for part in (pixels, labels))
            mixed = augment(pixels.to(device), self.recipe, image_size=self.recipe.size_at(number), generator=generator)
            labels = labels.to(device)
            yield UpdateShare([Batch(*mixed, labels, partners=labels.flip(0))], len(chosen))


def feeding(setting: Setting, scratch: Path) -> dict[str, Any]:
    """Images a second of a proxy training with pixels in pageable memory (as shipped), pinned, and on the device."""
    found: dict[str, Any] = {}
    for size in (32,) if setting.dry else (64, 160):
        way = recipe(setting, image_size=size, batch_size=setting.of(256, 16))
        data = images(setting.of(8000, 64), size)
        ways: dict[str, Any] = {"pageable": data, "pinned": Fed(data, way, lambda t: t)}
        ways["on_device"] = Fed(data, way, partial(torch.Tensor.to, device=setting.torch_device))
        macs = cost(small_hybrid(setting), image_size=size, num_classes=CLASSES).macs
        for name, fed in ways.items():
            curve = fit(network(setting, size=size), fed, None, way, seed=0, device=setting.device)
            rate = len(data.labels) / min(epoch.seconds for epoch in curve)
            found[f"{name}_{size}px"] = f"{rate:,.0f} images/s, {2 * PASSES * macs * rate / _peak(setting):.1%} of bf16's peak"
    return found


def _peak(setting: Setting) -> float:
    """Operations a second of a large matrix product in bf16, or what is taken in its place."""
    side = setting.of(PEAK_SIDE, 256)
    a = torch.randn(side, side, device=setting.torch_device, dtype=torch.bfloat16)
    return 2 * side**3 / _seconds(lambda: a @ a, setting)


def _seconds(run: Callable[[], object], setting: Setting, *, times: int = 5) -> float:
    """The median of several runs, after two for warm-up."""
    taken = []
    for number in range(times + 2):
        setting.wait()
        began = time.perf_counter()
        run()
        setting.wait()
        if number > 1:
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def loading(setting: Setting, scratch: Path) -> dict[str, Any]:
    """A full training's loader alone, training with it and the share of the time that waits for images, at 224 px with 8 and 16
    processes that decode; and what the device does to the images, alone."""
    size, each = setting.of(224, 32), setting.of(400, 16)
    _write_images(scratch / "data", each, side=setting.of(400, 40))
    found: dict[str, Any] = {}
    for workers in (0,) if setting.dry else (8, 16):
        way = FullRecipe(
            data=str(scratch / "data"), image_size=size, epochs=2, batch_size=setting.of(128, 8), warmup_epochs=0.5,
            crop_padding=0, loader=Loader(workers=workers),
        )  # fmt: skip
        data = data_of(manifest_of(way, seed=0), way, unreadable=scratch / "unreadable.txt")
        began = time.perf_counter()
        number = sum(share.num_images for share in data.train.epoch(1, seed=0, device=setting.torch_device))
        setting.wait()
        found[f"loader_alone_{workers}"] = f"{number / (time.perf_counter() - began):,.0f} images/s"
        model = deployed(small_hybrid(setting) if setting.dry else design("caformer_s18"), image_size=size, num_classes=CLASSES)
        curve = fit(model, data.train, None, way, seed=0, device=setting.device)
        best = min(curve, key=lambda epoch: epoch.seconds)
        rate, waiting = data.train.num_images / best.seconds, best.reading_seconds / best.seconds
        found[f"training_{workers}"] = f"{rate:,.0f} images/s, {waiting:.0%} of the time waiting"
    found["augmenting"] = f"{way.batch_size / _augmenting_seconds(way, scratch / 'data', setting):,.0f} images/s"
    return found


def _augmenting_seconds(way: FullRecipe, folder: Path, setting: Setting) -> float:
    """What the device takes for a batch that lies pinned in memory."""
    views, files = views_of(way, AS_STORED, number=1), sorted(folder.rglob("*.jpg"))[: way.batch_size]
    batch = default_collate([views(open_image(file)) for file in files])
    if setting.is_cuda:
        batch = batch._replace(pixels=batch.pixels.pin_memory())
    draws = torch.Generator(setting.torch_device).manual_seed(0)
    return _seconds(lambda: augmented(batch, way, device=setting.torch_device, generator=draws), setting)


def _write_images(folder: Path, each: int, *, side: int) -> None:
    """Smooth pictures as JPEG, some for each class, below train/ and val/."""
    draw = np.random.default_rng(0)
    for split, number in (("train", each), ("val", 4)):
        for label in range(CLASSES):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for i in range(number):
                small = Image.fromarray(draw.integers(0, 255, (8, 8, 3), dtype=np.uint8))
                small.resize((side, side * 3 // 4), Image.Resampling.BICUBIC).save(place / f"{i}.jpg", quality=90)


def compiled(setting: Setting, scratch: Path) -> dict[str, Any]:
    """After how many epochs torch.compile has paid for itself, with images that grow."""
    if setting.dry:
        return {"left_out": "compiling takes minutes on a CPU"}
    found: dict[str, Any] = {}
    for name, sizes in (("one_size", 128), ("growing", (96, 128))):
        plain, fast = (recipe(setting, image_size=sizes, epochs=4, compile=on) for on in (False, True))
        data = images(8000, 128)
        curves = [fit(network(setting, size=128), data, None, way, seed=0, device=setting.device) for way in (plain, fast)]
        before, after = (statistics.median(epoch.seconds for epoch in curve[1:]) for curve in curves)
        spent = sum(epoch.seconds for epoch in curves[1]) - 4 * after
        found[name] = f"{before:.2f} s an epoch, compiled {after:.2f} s, {spent:.0f} s to compile"
    return found


def graphs(setting: Setting, scratch: Path) -> dict[str, Any]:
    """Training steps recorded as CUDA graphs, by batch size."""
    if not setting.is_cuda:
        return {"left_out": "there are no CUDA graphs on a CPU"}
    found = {}
    for batch in (16, 64, 256):
        model = network(setting).to(setting.torch_device).train()
        pixels = torch.randn(batch, 3, 64, 64, device=setting.torch_device)
        plain = _seconds(partial(_step, model, pixels, setting), setting)
        recorded = torch.cuda.make_graphed_callables(model, (pixels,))
        graphed = _seconds(partial(_step, recorded, pixels, setting), setting)
        found[f"batch_{batch}"] = f"{plain * 1e3:.1f} ms, as a graph {graphed * 1e3:.1f} ms"
    return found


def _step(model: nn.Module, pixels: Tensor, setting: Setting) -> None:
    with autocast(setting.torch_device, recipe(setting, precision="float32")):
        model(pixels).square().mean().backward()
    model.zero_grad(set_to_none=True)


def riformer(setting: Setting, scratch: Path) -> dict[str, Any]:
    """RIFormer-S12's throughput over PoolFormer-S12's; arXiv:2304.05659 prints 17 to 18 % more."""
    names = ("poolformer_s12", "riformer_s12")
    size = setting.of(224, 32)
    nets = {name: deployed(design(name), image_size=size, num_classes=1000) for name in names}
    where = {"device": setting.device, "batch": setting.of(128, 2), "image_size": size}
    conditions = Conditions(**where, channels_last=setting.is_cuda, repeats=setting.of(20, 2), warm_up=setting.of(5, 1))
    pool, ri = measure(nets, conditions)
    return {"poolformer": f"{pool.images_per_second:,.0f} images/s", "riformer_over_it": round(ri.speed.median, 3)}


def latency(setting: Setting, scratch: Path) -> dict[str, Any]:
    """One image's latency by the device's own events, and whether the merged network says what the trained one does."""
    size = setting.of(224, 32)
    nets = {name: deployed(design(name), image_size=size, num_classes=1000) for name in ("poolformer_s12", "caformer_s18")}
    rounds = {"repeats": setting.of(20, 2), "warm_up": setting.of(5, 1)}
    plain = Conditions(device=setting.device, batch=1, image_size=size, **rounds)
    ways = {"": plain, **({" as a graph": plain.model_copy(update={"cuda_graphs": True})} if setting.is_cuda else {})}
    return {f"{each.name}{name}": f"{each.batch_ms.median:.2f} ms" for name, way in ways.items() for each in measure(nets, way)}
