"""Each operation of a batch does to each image what timm's function of its name does to it with Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment

from nas.retraining.operations import MODES, MOVES, NOTHING, OPERATIONS, operate
from tests.images import photo

NUMBERS = {name: number for number, name in enumerate(OPERATIONS)}
ARGUMENTS = {
    "shear_x": ((-0.3,), (0.2,)), "shear_y": ((0.3,), (-0.1,)), "translate_x_abs": ((7.0,), (-3.5,)),
    "translate_y_abs": ((-9.0,), (2.0,)), "translate_x_rel": ((0.45,), (-0.2,)), "translate_y_rel": ((-0.31,), (0.4,)),
    "rotate": ((30.0,), (-12.0,)), "solarize": ((26,), (256,)), "solarize_add": ((99,), (0,)), "posterize": ((0,), (4,)),
    "color": ((0.1,), (1.9,)), "desaturate": ((0.5,), (1.0,)), "contrast": ((0.3,), (1.7,)), "brightness": ((0.1,), (1.9,)),
    "sharpness": ((0.1,), (1.9,)), "gaussian_blur": ((0.3,), (2.0,)),
}  # fmt: skip
TOLERANCE = {"bilinear": 1, "bicubic": 12, "gaussian_blur": 6}
"""Of a pixel, in 255ths; 1 where nothing else is said."""


@pytest.fixture(scope="module")
def images():
    """Two pictures of 48 px, one with few values."""
    return [photo(48, seed=0), photo(48, seed=1).point(lambda value: 60 + value // 4)]


def batch(images):
    return torch.stack([torch.from_numpy(np.array(image)).permute(2, 0, 1) for image in images])


def steps(name, arguments):
    return torch.tensor([[[NUMBERS[name], *(own or [0.0])]] for own in arguments], dtype=torch.float32)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_does_what_timms_does(images, name):
    plain, _, mode = name.partition(" ")
    function, arguments = getattr(auto_augment, plain), ARGUMENTS.get(plain, ((), ()))
    options = {"resample": getattr(Image.Resampling, mode.upper() or "BILINEAR"), "fillcolor": (124, 116, 104)}
    by_timm = batch([function(image, *own, **options) for image, own in zip(images, arguments, strict=True)])
    ours = operate(batch(images), steps(name, arguments))
    off = (ours.int() - by_timm.int()).abs().float()
    print(name, off.max(), off.mean())
    assert off.quantile(0.99) <= TOLERANCE.get(mode or plain, 1) and off.mean() < 1


def test_each_image_meets_its_own_operations_one_after_the_other(images):
    nothing = [NOTHING, 0.0]
    plan = torch.tensor([[[NUMBERS["invert"], 0.0], nothing], [[NUMBERS["brightness"], 0.5], [NUMBERS["invert"], 0.0]]])
    first, second = batch(images)
    changed = operate(batch(images), plan)
    assert torch.equal(changed[0], 255 - first) and torch.equal(changed[1], 255 - second // 2)


def test_without_operations_images_stay_as_they_are(images):
    for plan in (torch.zeros(2, 0, 2), torch.tensor(2 * [2 * [[NOTHING, 0.0]]])):
        assert torch.equal(operate(batch(images), plan), batch(images))


def test_every_function_that_timms_policies_use_is_there():
    functions = {function.__name__ for function in auto_augment.NAME_TO_OP.values()} - {"gaussian_blur_rand"}
    assert functions == {name.split(" ")[0] for name in OPERATIONS}
    assert {name for name in OPERATIONS if " " in name} == {f"{name} {mode}" for name in MOVES for mode in MODES}
