"""What decoding JPEG files at a part of their size saves where a cache for small images is made, and what it changes.

    OMP_NUM_THREADS=1 python experiments/proxy/scaled.py

Pictures with detail at every scale and some noise, as photos have, stored at quality 90; both ways take turns; CPU time of one
core. Results and hardware: README.md beside this file.
"""

import io
import statistics
import time

import numpy as np
from PIL import Image

from nas.data.decoding import Rendering, decoded
from nas.data.source import image_in

TURNS = 7
FILES = {(500, 375): 24, (1200, 900): 8, (4000, 3000): 2}
SIZES = (64, 160, 224)


def picture(width: int, height: int, draw: np.random.Generator) -> bytes:
    """A JPEG file."""
    pixels = 128 + draw.normal(0, 6, (height, width, 3))
    for octave in range(1, 9):
        coarse = draw.normal(0, 60 / 1.6**octave, (max(2, 2**octave * height // width), 2**octave, 3)).astype(np.float32)
        bands = (Image.fromarray(coarse[..., i]).resize((width, height), Image.Resampling.BICUBIC) for i in range(3))
        pixels += np.stack([np.asarray(band) for band in bands], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "jpeg", quality=90)
    return file.getvalue()


def pixels_of(files: list[bytes], size: int, rendering: Rendering) -> tuple[np.ndarray, float]:
    """What becomes of the files, and the seconds that each took."""
    began = time.process_time()
    images = [image.pixels for image in decoded(files, image_in, size=size, rendering=rendering)]
    seconds = (time.process_time() - began) / len(files)
    return np.stack([np.frombuffer(pixels or b"", np.uint8) for pixels in images]).astype(int), seconds


def main() -> None:
    """A line for each size of files and images."""
    draw = np.random.default_rng(0)
    for (width, height), number in FILES.items():
        files = [picture(width, height, draw) for _ in range(number)]
        for size in SIZES:
            turns = [[pixels_of(files, size, Rendering(scaled=scaled)) for scaled in (False, True)] for _ in range(TURNS)]
            (exact, _), (scaled, _) = turns[0]
            apart = np.abs(exact - scaled)
            full, part = (1e3 * statistics.median(turn[way][1] for turn in turns) for way in (0, 1))
            ratios = sorted(whole[1] / small[1] for whole, small in turns)
            print(
                f"{width} x {height} to {size} px: {full:.2f} ms in full, {part:.2f} ms scaled, {full / part:.1f} times as "
                f"fast ({ratios[0]:.1f} to {ratios[-1]:.1f}); pixels apart by {apart.mean():.2f} of 255, at most {apart.max()}",
                flush=True,
            )


if __name__ == "__main__":
    main()
