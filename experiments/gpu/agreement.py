"""Stages that compare numbers: of two devices, of several kinds of arithmetic, of a training and one that goes on."""

import math
import os
import signal
import sys
from pathlib import Path
from typing import Any

import timm
import torch
from setting import CLASSES, Setting, images, network, recipe, small_heads
from torch import nn

from nas.data.manifest import Images
from nas.models.metaformer import build
from nas.space.architecture import Architecture, Stage
from nas.space.mixers import MIXERS
from nas.space.norms import NORMS
from nas.training.evaluation import computes_in_bf16
from nas.training.loop import fit

CLOSE = 1e-3  # of the largest logit: what two devices' float32 may differ by
INITIAL_SCALE = 2.0**16  # of torch's gradient scaler


def facts(setting: Setting, scratch: Path) -> dict[str, Any]:
    """The machine."""
    found: dict[str, Any] = {
        "device": setting.device,
        "torch": torch.__version__,
        "timm": timm.__version__,
        "cores": os.cpu_count(),
    }
    if setting.is_cuda:
        card = torch.cuda.get_device_properties(setting.torch_device)
        found |= {
            "card": card.name,
            "memory_gb": round(card.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    return found | {"bf16": computes_in_bf16(setting.torch_device)}


def forward(setting: Setting, scratch: Path) -> dict[str, Any]:
    """Logits of each mixer and norm on the CPU and on the device, in float32."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    size, worst = setting.of(64, 32), {}
    for mixer in MIXERS:
        for norm in NORMS:
            stages = tuple(Stage(mixer=mixer, depth=1, width=w, norm=norm, **small_heads(mixer)) for w in (16, 32))
            torch.manual_seed(0)
            model = build(Architecture(stages=stages), image_size=size, num_classes=CLASSES).eval()
            pixels = torch.randn(4, 3, size, size)
            with torch.inference_mode():
                here = model(pixels)
                there = model.to(setting.torch_device)(pixels.to(setting.torch_device)).cpu()
            worst[f"{mixer}, {norm}"] = float((here - there).abs().max() / here.abs().max())
    name = max(worst, key=worst.__getitem__)
    return {"pairs": len(worst), "largest_difference": f"{worst[name]:.1e} ({name})", "holds": worst[name] < CLOSE}


def arithmetic(setting: Setting, scratch: Path) -> dict[str, Any]:
    """Loss curves in each arithmetic, what the matrix products are computed in, and steps that fp16 skips."""
    found: dict[str, Any] = {}
    losses = {}
    ways = {"fp32": ("float32", False), "tf32": ("float32", True), "bf16": ("bf16", False), "fp16": ("fp16", False)}
    for name, (precision, tf32) in ways.items():
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        model, kinds, scales = network(setting), set(), []
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.register_forward_hook(lambda _, __, out, kinds=kinds: kinds.add(str(out.dtype).removeprefix("torch.")))
        way = recipe(setting, precision=precision)
        keep = lambda state, scales=scales: scales.append(state["scaler"].get("scale"))  # noqa: E731
        curve = fit(model, images(setting.of(2000, 64), way.full_size), None, way, seed=0, device=setting.device, save=keep)
        losses[name] = curve[-1].train_loss
        found[name] = f"loss {curve[-1].train_loss:.4f} in {curve[-1].seconds:.2f} s, products in {'/'.join(sorted(kinds))}"
        if name == "fp16":
            found["fp16_steps_skipped"] = round(math.log2(INITIAL_SCALE / scales[0]))
    spread = max(losses.values()) - min(losses.values())
    return found | {"losses_apart": round(spread, 4), "holds": spread < 0.1 and all(map(math.isfinite, losses.values()))}


def resume(setting: Setting, scratch: Path) -> dict[str, Any]:
    """A training that goes on from its state, the scaler's too, against one that ran through."""
    way = recipe(setting, precision="fp16", ema=0.9)
    data, states, ends = images(setting.of(1000, 64), way.full_size), [], []
    whole = network(setting)
    fit(whole, data, None, way, seed=0, device=setting.device, save=lambda state: states.append(_copied(state, scratch)))
    again = network(setting, seed=1)
    fit(again, data, None, way, seed=0, device=setting.device, state=states[0])
    ends = [torch.cat([p.detach().float().flatten().cpu() for p in model.parameters()]) for model in (whole, again)]
    apart = float((ends[0] - ends[1]).abs().max())
    return {"scale": states[0]["scaler"].get("scale"), "weights_apart": apart, "holds": apart == 0}


def _copied(state: dict[str, Any], scratch: Path) -> dict[str, Any]:
    torch.save(state, scratch / "state.pt")
    return torch.load(scratch / "state.pt", weights_only=True)


def nccl(setting: Setting, scratch: Path) -> dict[str, Any]:
    """A training through NCCL (gloo on a CPU) in a world of one, killed after its first epoch, against one that ran through."""
    context = torch.multiprocessing.get_context("fork" if setting.dry else "spawn")
    codes = []
    for kills in (True, False):
        process = context.Process(target=_in_world_of_one, args=(setting, scratch, kills))
        process.start()
        process.join()
        codes.append(process.exitcode)
    if codes != [-signal.SIGKILL, 0]:
        return {"trouble": f"exit codes {codes}"}
    again = torch.load(scratch / "end.pt", weights_only=True)
    model, way = network(setting), recipe(setting)
    fit(model, images(setting.of(1000, 64), way.full_size), None, way, seed=0, device=setting.device)
    apart = max(float((again[name].cpu() - value.cpu()).abs().max()) for name, value in model.state_dict().items())
    return {"weights_apart": apart, "holds": apart < CLOSE}


def _in_world_of_one(setting: Setting, scratch: Path, kills: bool) -> None:
    backend = "nccl" if setting.is_cuda else "gloo"
    torch.distributed.init_process_group(backend, init_method=f"file://{scratch}/meeting-{kills}", rank=0, world_size=1)
    file = scratch / "state.pt"

    def save(state: dict[str, Any]) -> None:
        torch.save(state, file)
        if kills:
            os.kill(os.getpid(), signal.SIGKILL)

    model, way = network(setting), recipe(setting)
    total = torch.ones(3, device=setting.torch_device)
    torch.distributed.all_reduce(total)
    state = None if kills else torch.load(file, weights_only=True)
    fit(model, images(setting.of(1000, 64), way.full_size), None, way, seed=0, device=setting.device, state=state, save=save)
    torch.save({name: value.cpu() for name, value in model.state_dict().items()}, scratch / "end.pt")
    torch.distributed.destroy_process_group()


def broken(setting: Setting, scratch: Path) -> dict[str, Any]:
    """A label that no class has: the device's error ends the training and is no result, so that its process is thrown away."""
    context = torch.multiprocessing.get_context("fork" if setting.dry else "spawn")
    process = context.Process(target=_with_wrong_label, args=(setting,))
    process.start()
    process.join()
    return {"exit_code": process.exitcode, "holds": process.exitcode == 3}


def _with_wrong_label(setting: Setting) -> None:
    way = recipe(setting)
    pixels, labels = images(setting.of(256, 32), way.full_size)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (CUDA prints a line for each thread)
    try:
        fit(network(setting), Images(pixels, labels + CLASSES), None, way, seed=0, device=setting.device)
    except (RuntimeError, IndexError):
        raise SystemExit(3) from None
