"""How far eager execution's peak of activations lies above the closed form, which is an ideal compiler's.

    python experiments/latency/activations.py

Every tensor that an operator of torch makes is followed until it is freed; one image of 224 px in float32, on any machine:

    design                closed form     eager   ratio
    poolformer_s12            7.23 MB   10.4 MB    1.44
    poolformerv2_s12          7.23 MB   16.9 MB    2.33
    identityformer_s12        7.23 MB   16.9 MB    2.33
    convformer_s18            7.23 MB   16.9 MB    2.33
    caformer_s18              7.23 MB   16.9 MB    2.33

GELU (PoolFormer) keeps its input and its output; StarReLU is several operators, each with an output of its own.
"""

import weakref
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas.models.metaformer import build
from nas.space.cost import cost
from nas.space.reference import IMAGENET_CLASSES, IMAGENET_PIXELS, design
from nas.units import count

DESIGNS = ("poolformer_s12", "poolformerv2_s12", "identityformer_s12", "convformer_s18", "caformer_s18")


class Peak(TorchDispatchMode):
    """Bytes of all tensors that live at once within the block, at the most."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(self, operator: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        result = operator(*arguments, **(named or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self._follow(tensor.untyped_storage())
        return result

    def _follow(self, storage: torch.UntypedStorage) -> None:
        place = storage.data_ptr()
        if place and place not in self.sizes:
            self.sizes[place] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, place)

    def _forget(self, place: int) -> None:
        self.now -= self.sizes.pop(place, 0)


def main() -> None:
    print(f"{'design':20}  {'closed form':>12}  {'eager':>8}  {'ratio':>6}")
    for name in DESIGNS:
        architecture = design(name)
        network = build(architecture, image_size=IMAGENET_PIXELS, num_classes=IMAGENET_CLASSES).eval()
        ideal = cost(architecture, image_size=IMAGENET_PIXELS, num_classes=IMAGENET_CLASSES).activation_bytes
        images = torch.rand(1, 3, IMAGENET_PIXELS, IMAGENET_PIXELS)
        with torch.inference_mode(), Peak() as followed:
            network(images)
        print(f"{name:20}  {count(ideal):>11}B  {count(followed.peak):>7}B  {followed.peak / ideal:>6.2f}")


if __name__ == "__main__":
    main()
