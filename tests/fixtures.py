"""Fixtures of the packages that train or read images: a small network, small folders, a decoded cache of each test's own."""

import pytest
import torch

from nas.space.architecture import Architecture, Stage
from tests.images import class_folders


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Decoded images go to a folder of this test's."""
    folder = tmp_path_factory.mktemp("decoded") / "cache"
    monkeypatch.setenv("NAS_CACHE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def one_thread():
    """As many threads as a trial has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny():
    """A convolution and an attention stage with a position embedding, 8 px a side at 32 px."""
    return Architecture(
        stages=(
            Stage(mixer="conv", depth=1, width=8, kernel_size=3),
            Stage(mixer="attention", depth=1, width=16, head_dim=8, position_embedding=True),
        )
    )


@pytest.fixture
def folder(tmp_path):
    """Three classes of ten images, in one folder."""
    return class_folders(tmp_path / "images")


@pytest.fixture
def split_folder(tmp_path):
    """Three classes of ten training and four test images, in train/ and val/."""
    root = tmp_path / "images"
    class_folders(root / "train", images=10)
    class_folders(root / "val", images=4, first=500)
    return root
