"""What a pass through a network leaves behind, taken back where the pass didn't come to its end."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase


class PassState:
    """A network's running statistics and torch's draws, as they were before a pass."""

    def __init__(self, model: nn.Module, device: torch.device):
        norms = [module for module in model.modules() if isinstance(module, _NormBase)]
        self._statistics: list[Tensor] = [buffer for norm in norms for buffer in norm.buffers()]
        self._before = [buffer.clone() for buffer in self._statistics]
        self._device = device
        self.keep()

    def keep(self) -> None:
        """From here on this is what `restore` brings back."""
        for copy, buffer in zip(self._before, self._statistics, strict=True):
            copy.copy_(buffer)
        self._draws = torch.get_rng_state()
        self._draws_on_card = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None

    def restore(self) -> None:
        """As if no pass had been begun."""
        for buffer, copy in zip(self._statistics, self._before, strict=True):
            buffer.copy_(copy)
        torch.set_rng_state(self._draws)
        if self._draws_on_card is not None:
            torch.cuda.set_rng_state(self._draws_on_card, self._device)
