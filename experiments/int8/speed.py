"""What int8 gains in time: networks in ONNX Runtime in float and in int8, in turns, one image and one thread.

python experiments/int8/speed.py poolformerv2_s12 convformer_s18 caformer_s18 --image-size 224
"""

import argparse
from functools import partial

import torch

from nas.devices.conditions import Conditions
from nas.devices.measure import alone_here, seconds_of
from nas.devices.rounds import Budget, in_turns
from nas.devices.runtimes import runtime_of
from nas.models.reparam import deployed
from nas.winners.lookup import architecture_of

RUNTIMES = ("onnxruntime", "onnxruntime-int8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--image-size", type=int, default=224)
    arguments = parser.parse_args()
    size, clocks = arguments.image_size, {}
    with alone_here():
        for name in arguments.names:
            network = deployed(architecture_of(name), image_size=size, num_classes=1000).eval()
            for runtime in RUNTIMES:
                conditions = Conditions(runtime=runtime, batch=1, image_size=size, threads=1)
                run = runtime_of(runtime)(network, torch.rand(1, 3, size, size), conditions)
                clocks[name, runtime] = partial(seconds_of, run, conditions)
        timed = in_turns(clocks, Budget(seconds=60))
    for name in arguments.names:
        before, after = (timed[name, runtime].ms for runtime in RUNTIMES)
        print(f"{name}: {before:.1f} ms in float, {after:.1f} ms in int8, {before / after:.2f} times as fast")


if __name__ == "__main__":
    main()
