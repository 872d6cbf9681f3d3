"""How an image file becomes what a network takes, as code that needs Pillow and NumPy only.

It is the arithmetic of timm's evaluation transform: the shorter side is scaled, the middle cut out, the colours normalised.
"""

import math
from typing import Any

PIXELS = '''\
import numpy as np
from PIL import Image

def pixels(file):
    """An image file as the network takes it: float32 `(1, 3, {size}, {size})`."""
    image = Image.open(file).convert("RGB")
    short = min(image.size)
    image = image.resize([int({scaled} * side / short) for side in image.size], Image.Resampling.{interpolation})
    left, top = (round((side - {size}) / 2) for side in image.size)
    image = image.crop((left, top, left + {size}, top + {size}))
    values = np.asarray(image, dtype=np.float32) / 255  # from 0 to 1
    values = (values - np.float32({mean})) / np.float32({std})
    return np.ascontiguousarray(values.transpose(2, 0, 1))[None]  # one image, channels first, also in memory'''
TORCH_USAGE = """\
import torch  # net: as above

with torch.inference_mode():
    logits = net.eval()(torch.from_numpy(pixels("cat.jpg"))).numpy()"""
LABEL_USAGE = """\
import json

with open("config.json", encoding="utf-8") as file:
    names = json.load(file)["label_names"]
print(names[logits.argmax()])"""


def pixels_code(settings: dict[str, Any]) -> str:
    """The source of `pixels(file)` for the `pretrained_cfg` of an export."""
    size = settings["input_size"][-1]
    return PIXELS.format(
        size=size,
        scaled=math.floor(size / settings["crop_pct"]),  # as timm has it
        interpolation=settings["interpolation"].upper(),
        mean=list(settings["mean"]),
        std=list(settings["std"]),
    )
