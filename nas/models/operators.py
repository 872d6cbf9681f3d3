"""The faster of equal ways to compute what blocks are made of, by device and size; measured by experiments/proxy/operators.py.

Which forms a CPU takes stands in `TAKEN`; a training sets there what its own machine is faster with (`nas.devices.forms`).

TorchScript can't ask all that the choice takes, and gets torch's own operators. The exporter copies this file into the model it
writes, so it imports nothing of the package.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.jit import is_scripting  # type: ignore[attr-defined]  # public, but not marked as exported

SHORT = 784  # tokens up to which products of whole matrices were faster
LARGE_KERNEL = 5
LARGE_MAP = 8  # positions a side
FEW_POSITIONS = 1024  # positions of a whole batch up to which a product of matrices was faster than a 1x1 convolution
LANES = 16  # channels of which whole multiples are normed as fast in bf16 as in float32
WIDE_GROUP = 64  # channels from which all of them are, where an image is normed as one group
TAKEN = {
    torch.float32: frozenset({"pool_as_filter"}),
    torch.bfloat16: frozenset(
        {"pool_as_filter", "attention_as_products", "filter_in_float32", "map_as_product", "norm_in_float32"}
    ),
}  # by what a CPU computes in: which operators take a form other than torch's own


def average(x: Tensor, size: int) -> Tensor:
    """Mean of each `size` x `size` neighbourhood without what lies outside; `(B, C, H, W)` is kept.

    A CPU filters each channel with ones and divides by the number of positions in the window: 3 to 10 times as fast in NCHW,
    up to twice in channels_last, where torch's own pooling wins for small windows and small maps. On a GPU a training pools a
    contiguous map: torch's gradient in channels_last was wrong there in 2.11, without a word (pytorch#188344).
    """
    on_cpu = x.device.type == "cpu"
    if not is_scripting() and on_cpu and not _pools_fast(x, size):
        return _mean_of_sums(x, size)
    pooled = x if on_cpu or not x.requires_grad else x.contiguous()
    return F.avg_pool2d(pooled, size, stride=1, padding=size // 2, count_include_pad=False)


@torch.jit.unused
def _mean_of_sums(x: Tensor, size: int) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        sums = F.conv2d(x, x.new_ones(x.shape[1], 1, size, size), padding=size // 2, groups=x.shape[1])
    return sums / _window_counts(x, size)


@torch.jit.unused
def _pools_fast(x: Tensor, size: int) -> bool:
    """Whether torch's own pooling is the faster one on a CPU."""
    small = x.dtype == torch.float32 and (size < LARGE_KERNEL or x.shape[-1] < LARGE_MAP)
    return _is_channels_last(x) and (small or not _takes("pool_as_filter", x.dtype))


def _window_counts(x: Tensor, size: int) -> Tensor:
    """How many positions of the map `(B, C, H, W)` each window holds: `(H, W)`."""
    rows, columns = (_covered(side, size, like=x) for side in x.shape[2:])
    return rows[:, None] * columns


def _covered(side: int, size: int, *, like: Tensor) -> Tensor:
    """How many of `side` positions lie within a window around each: `(side,)`."""
    at, reach = torch.arange(side, device=like.device), size // 2
    return ((at + reach).clamp(max=side - 1) - (at - reach).clamp(min=0) + 1).to(like.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax of the scaled products of queries and keys, times the values; each `(B, heads, N, head_dim)`.

    In bf16 a CPU multiplies whole matrices up to 8 times as fast as the fused kernel, whose backward pass is slow there;
    elsewhere the fused one is as fast or faster, and holds no `N` x `N` matrix.
    """
    if not is_scripting() and _is_short(q):
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(dim=-1)  # (B, heads, N, N)
        return weights.to(v.dtype) @ v  # (B, heads, N, head_dim)
    return F.scaled_dot_product_attention(q, k, v)


@torch.jit.unused
def _is_short(q: Tensor) -> bool:
    return q.device.type == "cpu" and _takes("attention_as_products", q.dtype) and q.shape[2] <= SHORT


def attend_linearly(qkv: Tensor, head_dim: int, eps: float) -> Tensor:
    """Linear attention of queries, keys and values that lie head by head in `(B, 3 C, H, W)`; `(B, C, H, W)`. In float32.

    As timm's LiteMLA computes it, which torch.fx can't look into, without its copy of `qkv`.
    """
    heads = qkv.flatten(2).unflatten(1, (-1, 3 * head_dim)).transpose(2, 3)  # (B, heads, N, 3 head_dim)
    if is_scripting() or qkv.device.type == "meta":
        mixed = _weighted_means(heads, eps)
    else:
        with torch.autocast(qkv.device.type, enabled=False):
            mixed = _weighted_means(heads, eps)
    return mixed.transpose(2, 3).reshape(qkv.shape[0], -1, qkv.shape[2], qkv.shape[3])  # (B, C, H, W)


def _weighted_means(heads: Tensor, eps: float) -> Tensor:
    """The means of the values `(B, heads, N, head_dim)`; a column of ones beside them adds up the weights."""
    q, k, v = heads.chunk(3, dim=-1)  # each (B, heads, N, head_dim)
    q, k, v = q.relu().float(), k.relu().float(), F.pad(v, (0, 1), value=1.0).float()
    sums = q @ (k.transpose(2, 3) @ v)  # (B, heads, N, head_dim + 1)
    return (sums[..., :-1] / (sums[..., -1:] + eps)).to(heads.dtype)


def filtered(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Each channel filtered by its own kernel of `weight` `(C, 1, k, k)`; `(B, C, H, W)` is kept.

    Trained in bf16 and channels_last on a CPU, large kernels compute in float32, 1.2 to 4 times as fast.
    """
    padding, groups = weight.shape[-1] // 2, weight.shape[0]
    if not is_scripting() and _filters_slowly(x, weight):
        with torch.autocast("cpu", enabled=False):
            own = None if bias is None else bias.float()
            return F.conv2d(x.float(), weight.float(), own, padding=padding, groups=groups).to(weight.dtype)
    return F.conv2d(x, weight, bias, padding=padding, groups=groups)


@torch.jit.unused
def _filters_slowly(x: Tensor, weight: Tensor) -> bool:
    large = weight.shape[-1] >= LARGE_KERNEL and torch.is_grad_enabled() and _is_channels_last(x)
    return x.device.type == "cpu" and large and _in_bf16(x) and _takes("filter_in_float32", torch.bfloat16)


def channel_map(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A linear map of each position's channels, `(B, C, H, W)` to `(B, D, H, W)`, by `weight` `(D, C, 1, 1)`.

    Trained in bf16 and channels_last on a CPU, small maps take a product of matrices, up to twice as fast as a 1x1 convolution.
    The size is asked last: torch.export bounds the batches of a program by every size that was compared.
    """
    if not is_scripting() and _trains_by_products(x) and _is_channels_last(x) and _is_small(x):
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)  # (B, D, H, W)
    return F.conv2d(x, weight, bias)


def layer_norm(x: Tensor, channels: tuple[int, ...], weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """Each position's channels, the last dimension of `x`, less their mean and over their deviation.

    In bf16 a CPU norms channels that are no multiple of 16 in float32, 1.6 to 6 times as fast.
    """
    if not is_scripting() and _norms_slowly(x, channels[0]):
        with torch.autocast("cpu", enabled=False):
            return F.layer_norm(x.float(), channels, weight, bias, eps).to(x.dtype)
    return F.layer_norm(x, channels, weight, bias, eps)


def group_norm(x: Tensor, weight: Tensor, bias: Tensor | None, eps: float) -> Tensor:
    """All of an image `(B, C, ...)`, less its mean and over its deviation; on a CPU in bf16 as `layer_norm` if it is narrow."""
    if not is_scripting() and x.shape[1] < WIDE_GROUP and _norms_slowly(x, x.shape[1]):
        with torch.autocast("cpu", enabled=False):
            return F.group_norm(x.float(), 1, weight, bias, eps).to(x.dtype)
    return F.group_norm(x, 1, weight, bias, eps)


@torch.jit.unused
def _norms_slowly(x: Tensor, channels: int) -> bool:
    odd = x.dtype == torch.bfloat16 and channels % LANES > 0
    return odd and x.device.type == "cpu" and _takes("norm_in_float32", x.dtype)


def gelu(x: Tensor) -> Tensor:
    """`x` times the normal distribution's share below it. arXiv:1606.08415, equation 1.

    A CPU takes oneDNN's kernel for tensors that are contiguous as they stand only: channels_last maps are shown to it as such.
    """
    if not is_scripting() and x.device.type == "cpu" and x.dim() == 4 and _is_channels_last(x):
        return F.gelu(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, C, H, W)
    return F.gelu(x)


def alike(weights: Tensor, x: Tensor) -> Tensor:
    """Factors or summands as they meet `x`: on a CPU in bf16 where `x` is, or it would be copied into float32 first."""
    if not is_scripting() and x.device.type == "cpu" and x.dtype == torch.bfloat16:
        return weights.to(x.dtype)
    return weights


@torch.jit.unused
def _is_small(x: Tensor) -> bool:
    return x.numel() <= FEW_POSITIONS * x.shape[1]


@torch.jit.unused
def _trains_by_products(x: Tensor) -> bool:
    computed_in = torch.bfloat16 if _in_bf16(x) else x.dtype
    return x.device.type == "cpu" and torch.is_grad_enabled() and _takes("map_as_product", computed_in)


def _takes(form: str, dtype: torch.dtype) -> bool:
    return form in TAKEN.get(dtype, TAKEN[torch.float32])


def _in_bf16(x: Tensor) -> bool:
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return autocast or x.dtype == torch.bfloat16


@torch.jit.unused
def _is_channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
