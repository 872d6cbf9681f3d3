"""What a block with a plugin's mixer costs: run once on an image of the size in question, its operators watched.

MACs are `torch.utils.flop_counter.FlopCounterMode / 2`, parameters the module's own, and the memory is what an ideal compiler
needs: each operator's inputs and output, what is read later, and the residual that waits beside them.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

if TYPE_CHECKING:
    from nas.space.architecture import Stage
    from nas.space.plugins.plugin import PluginMixer


class BlockCounts(NamedTuple):
    """Of one block, its channel MLP and norms left aside."""

    params: int
    """Trainable ones; those of activation functions are not among them."""
    frozen_params: int
    macs: int
    floats: int
    """Alive at once, the waiting residual included."""
    activations: int
    """Activation functions that it makes."""


class Broken(Exception):
    """A rule that a plugin's mixer breaks, and the way out."""


def _attention_flops(q: Any, k: Any, v: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    flops: int = sdpa_flop_count(q, k, v)
    return flops


_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
"""An operator that torch's counter does not know."""


class _Watch(TorchDispatchMode):
    """Keeps the tensors that each operator read and wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[list[Tensor], list[Tensor]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        leaves = torch.utils._pytree.tree_leaves
        inputs = [t for t in leaves((args, kwargs)) if isinstance(t, Tensor)]
        self.calls.append((inputs, [t for t in leaves(outputs) if isinstance(t, Tensor)]))
        return outputs


def measured(made: type[nn.Module], stage: "Stage", *, side: int, tokens: bool) -> BlockCounts:
    """The counts of one block of `stage` on a map of that side; Broken where the mixer changes its input's shape."""
    num_activations = 0

    class Activation(nn.ReLU):
        def __init__(self) -> None:
            nonlocal num_activations
            super().__init__()
            num_activations += 1

    shape = (1, side**2, stage.width) if tokens else (1, stage.width, side, side)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        module = made(stage, side=side, activation=Activation).eval()
        x = torch.rand(shape)
        given_input = x.clone()
        with FlopCounterMode(display=False, custom_mapping={_CPU_ATTENTION: _attention_flops}) as counter, _Watch() as watch:
            y = module(x)
    _check_shape(y, x)
    if not torch.equal(x, given_input):
        raise Broken(
            "must leave its input as it is, which the residual adds, but changes it; write x + y in the place of x += y"
        )
    weights = list(module.parameters())
    own = {_place(t) for t in (*weights, *module.buffers())}
    return BlockCounts(
        sum(w.numel() for w in weights if w.requires_grad),
        sum(w.numel() for w in weights if not w.requires_grad),
        counter.get_total_flops() // 2,
        x.numel() + _most_alive(watch.calls, x, y, own),
        num_activations,
    )


def _check_shape(y: object, x: Tensor) -> None:
    if not isinstance(y, Tensor):
        raise Broken(f"must give a tensor, but gives {type(y).__name__}; return the mixed map alone")
    if y.shape != x.shape:
        raise Broken(f"must keep the shape {tuple(x.shape)} of its input, but gives {tuple(y.shape)}; pad, or use stride 1")
    if y.dtype != x.dtype:
        raise Broken(f"must keep the type {x.dtype} of its input, but gives {y.dtype}; compute in the type that comes in")


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata  # one for all views of the same numbers


def _most_alive(calls: list[tuple[list[Tensor], list[Tensor]]], x: Tensor, y: Tensor, own: set[int]) -> int:
    """The most floats that stand in memory at one operator, `own` weights left aside; what nobody reads is not kept."""
    born, last_read, floats = {_place(x): -1}, {_place(y): len(calls)}, {_place(x): x.numel()}
    for i, (inputs, outputs) in enumerate(calls):
        for tensor in inputs:
            last_read[_place(tensor)] = max(i, last_read.get(_place(tensor), -1))
        for tensor in outputs:
            born.setdefault(_place(tensor), i)
            floats.setdefault(_place(tensor), tensor.untyped_storage().nbytes() // 4)
    kept = [p for p in born if p in last_read and p not in own]
    return max(sum(floats[p] for p in kept if born[p] <= i <= last_read[p]) for i in range(max(1, len(calls))))


def weights_of_positions(made: type[nn.Module], stage: "Stage", *, side: int) -> set[str]:
    """The names of those weights and buffers whose shape depends on the side of the map."""
    with torch.random.fork_rng(devices=[]):
        states = [made(stage, side=s, activation=nn.ReLU).state_dict() for s in (side, side // 2 or 2)]
    return {name for name in states[0] if name in states[1] and states[0][name].shape != states[1][name].shape}


def check_row(
    counts: BlockCounts, row: "PluginMixer", positional: set[str], *, closed: Callable[[], Any] | None
) -> BlockCounts:
    """The counts, the author's closed form in their place where there is one; Broken where the row says something else."""
    if positional != set(row.position_weights):
        raise Broken(
            f"position_weights must name the weights whose shape depends on the map's side, {sorted(positional)}, but the row "
            f"has {sorted(row.position_weights)}; mend the row"
        )
    if row.uses_activation != (counts.activations > 0):
        raise Broken(f"uses_activation must be {counts.activations > 0}, as the module does, but is not; mend the row")
    if closed is None:
        return counts
    stated = closed()
    if not isinstance(stated, dict) or not {"params", "macs"} <= stated.keys() <= {*BlockCounts._fields} - {"activations"}:
        raise Broken(
            f"cost must give {{params, macs}}, and may give frozen_params and floats, but gives {stated!r:.100}; mend it"
        )
    for name, value in stated.items():
        if type(value) is not int or value < 0:
            raise Broken(f"cost must give whole numbers from 0, but {name} is {value!r:.100}; mend it")
        if name != "floats" and value != getattr(counts, name):
            rule = f"cost says {name}={value}, but the module has {getattr(counts, name)}"
            raise Broken(f"{rule}; mend one of the two, or leave cost out to have it measured")
    return counts._replace(**stated)
