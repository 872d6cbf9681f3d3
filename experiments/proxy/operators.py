"""CPU time of an operator's forward and backward pass, in the form that nas/models/operators.py takes and in torch's own.

    python experiments/proxy/operators.py

One thread, milliseconds, the best of several passes; float32, and bf16 as inside autocast. Results: README.md beside this file.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

from nas.models.operators import attend, average, channel_map, filtered, gelu, group_norm, layer_norm

PASSES = 8
MAPS = ((64, 32, 16), (64, 64, 8), (64, 160, 4), (8, 64, 56), (16, 320, 14))  # batch, channels, side
TOKENS = ((64, 16), (64, 49), (64, 64), (20, 196), (16, 256), (5, 784), (4, 1024))  # batch, tokens
WIDTHS = ((8, 32), (12, 32), (16, 32), (24, 16), (32, 16), (40, 16), (64, 8), (88, 8), (104, 4))  # channels, side
HEADS, HEAD_DIM = 5, 32


def main() -> None:
    torch.set_num_threads(1)
    table = Table(box=None, pad_edge=False)
    for column in ("operator", "size", "memory", "arithmetic", "ours", "torch's own", "ratio"):
        table.add_column(column, justify="right" if column in ("ours", "torch's own", "ratio") else "left")
    for row in (*norms(), *poolings(), *filters(), *channel_maps(), *gelus(), *attentions()):
        *labels, ours, plain = row
        table.add_row(*labels, f"{ours:.2f}", f"{plain:.2f}", f"{plain / ours:.2f}")
    Console(width=120).print(table)


def norms():
    for channels, side in WIDTHS:
        weight = torch.randn(channels, requires_grad=True)
        x = torch.randn(64, channels, side, side).bfloat16().contiguous(memory_format=torch.channels_last)
        as_rows = x.permute(0, 2, 3, 1)  # (B, H, W, C)
        affine = {"weight": weight, "bias": None, "eps": 1e-6}
        layers = partial(layer_norm, channels=(channels,)), partial(F.layer_norm, normalized_shape=(channels,))
        groups = group_norm, partial(F.group_norm, num_groups=1)
        for name, forms, given in (("layer norm", layers, as_rows), ("group norm", groups, x)):
            ours, plain = (milliseconds(partial(form, **affine), given) for form in forms)
            yield name, f"{channels} x {side}²", "channels last", "bfloat16", ours, plain


def poolings():
    for batch, channels, side in MAPS:
        for size in (3, 5, 9):
            for x, layout, dtype in layouts(torch.randn(batch, channels, side, side)):
                plain = milliseconds(lambda x, k=size: F.avg_pool2d(x, k, 1, k // 2, count_include_pad=False), x)
                yield (
                    f"pool {size}x{size}",
                    f"{channels} x {side}²",
                    layout,
                    dtype,
                    milliseconds(lambda x, k=size: average(x, k), x),
                    plain,
                )


def filters():
    for batch, channels, side in MAPS:
        for size in (3, 5, 7):
            weight = torch.randn(channels, 1, size, size, requires_grad=True)
            for x, layout, dtype in layouts(torch.randn(batch, channels, side, side)):
                plain = milliseconds(lambda x, w=weight: F.conv2d(x, w, padding=w.shape[-1] // 2, groups=len(w)), x)
                ours = milliseconds(lambda x, w=weight: filtered(x, w), x)
                yield f"filter {size}x{size}", f"{channels} x {side}²", layout, dtype, ours, plain


def channel_maps():
    for batch, channels, side in MAPS:
        for wide, narrow in ((4 * channels, channels), (channels, 4 * channels)):
            weight, bias = torch.randn(wide, narrow, 1, 1, requires_grad=True), torch.randn(wide, requires_grad=True)
            for x, layout, dtype in layouts(torch.randn(batch, narrow, side, side)):
                forms = [partial(form, weight=weight, bias=bias) for form in (channel_map, F.conv2d)]
                ours, plain = (milliseconds(form, x) for form in forms)
                yield f"channel map to {wide}", f"{narrow} x {side}²", layout, dtype, ours, plain


def gelus():
    for batch, channels, side in MAPS:
        for x, layout, dtype in layouts(torch.randn(batch, 4 * channels, side, side)):
            ours, plain = (milliseconds(form, x) for form in (gelu, F.gelu))
            yield "gelu", f"{4 * channels} x {side}²", layout, dtype, ours, plain


def attentions():
    for batch, tokens in TOKENS:
        for dtype in (torch.float32, torch.bfloat16):
            qkv = torch.randn(3, batch, HEADS, tokens, HEAD_DIM).to(dtype)
            ours, plain = (milliseconds(lambda x, f=form: f(*x), qkv) for form in (attend, F.scaled_dot_product_attention))
            yield "attention", f"{tokens} tokens", "", str(dtype).removeprefix("torch."), ours, plain


def layouts(x: Tensor):
    """The map in both memory layouts and both precisions."""
    for dtype in (torch.float32, torch.bfloat16):
        for layout in (torch.channels_last, torch.contiguous_format):
            name = "channels last" if layout == torch.channels_last else "NCHW"
            yield x.to(dtype).contiguous(memory_format=layout), name, str(dtype).removeprefix("torch.")


def milliseconds(function: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Least CPU time of a forward and a backward pass, with a gradient in the output's own layout."""
    taken = []
    for _ in range(PASSES):
        given = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=x.dtype == torch.bfloat16):
            with torch.no_grad():
                gradient = torch.randn_like(function(given))
            began = time.process_time()
            out = function(given)
        out.backward(gradient)
        taken.append(time.process_time() - began)
    return 1e3 * min(taken)


if __name__ == "__main__":
    main()
