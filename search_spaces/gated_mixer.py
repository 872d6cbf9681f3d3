"""A gated depthwise convolution as a token mixer: half of the channels, filtered, times the other half, activated.

The gate is that of gated linear units (arXiv:2002.05202, equation 5), around the separable convolution of arXiv:2210.13452.
Named by with_a_plugin.yaml. What each part means stands in README.md, "Your own mixer".
"""

from torch import Tensor, nn


class GatedConv(nn.Module):
    """Maps `(B, C, H, W)` to as many: `stage` has the settings, `side` is H and W, `activation` the class of its activation."""

    def __init__(self, stage, *, side: int, activation: type[nn.Module]):
        super().__init__()
        c, k = stage.width, stage.gate_kernel
        self.expand = nn.Conv2d(c, 2 * c, kernel_size=1, bias=False)
        self.filter = nn.Conv2d(c, c, k, padding=k // 2, groups=c, bias=False)
        self.act = activation()
        self.project = nn.Conv2d(c, c, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.expand(x).chunk(2, dim=1)  # each (B, C, H, W)
        return self.project(self.filter(value) * self.act(gate))


MIXERS = {
    "gated": {
        "module": GatedConv,
        "letter": "G",
        "options": {"gate_kernel": [3, 5, 7]},  # all that are allowed, the default first
        "uses_activation": True,
    },
}
