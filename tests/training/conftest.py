"""Small networks, small image folders, and a decoded cache of each test's own."""

import multiprocessing
import subprocess
import time
import uuid

import numpy as np
import pytest
import torch
from PIL import Image

from nas.errors import ConfigError
from nas.space.architecture import Architecture, Stage
from nas.training.data import make_manifest
from nas.training.recipe import Recipe


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


def picture(path, *, seed=0, size=(12, 10), **options):
    """A random RGB image written to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def class_folders(root, *, classes=("ant", "bee", "cat"), images=10):
    """`images` PNGs in a folder for each class; every file differs."""
    for c, name in enumerate(classes):
        for i in range(images):
            picture(root / name / f"{i:03}.png", seed=1000 * c + i)
    return root


@pytest.fixture
def folder(tmp_path):
    """Three classes of ten images, in one folder."""
    return class_folders(tmp_path / "images")


@pytest.fixture
def split_folder(tmp_path):
    """Three classes of ten training and four test images, in train/ and val/."""
    root = tmp_path / "images"
    class_folders(root / "train", images=10)
    class_folders(root / "val", images=4)
    return root


def manifest_of(folder, *, seed=0, **values):
    """What is drawn from the data `folder` by the defaults with these values."""
    return make_manifest(Recipe(data=str(folder), **values), seed=seed)


def ids(manifest, *splits):
    """The images of those splits."""
    return {i for split in splits for i, _ in getattr(manifest, split)}


def refusal(folder, **values):
    """The message that refuses the data."""
    with pytest.raises(ConfigError) as caught:
        manifest_of(folder, **values)
    return str(caught.value)


def in_processes(number, work, folder):
    """What `work()` gives in each of so many processes that are joined as torchrun's would be; None for one that is killed."""
    context = multiprocessing.get_context("fork")  # a fresh interpreter would take seconds to import torch
    meeting, results = folder / f"meeting-{uuid.uuid4()}", context.SimpleQueue()
    started = [context.Process(target=_joined, args=(rank, number, meeting, work, results)) for rank in range(number)]
    for process in started:
        process.start()
    found = {}
    while any(process.is_alive() for process in started) or not results.empty():
        if results.empty():
            time.sleep(0.01)
        else:
            rank, found[rank] = results.get()
    return [found.get(rank) for rank in range(number)]


def started_by(ancestor):
    """The processes that one started, that those started, and so on: their ids and command lines."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,command="], capture_output=True, text=True, check=True).stdout
    lines = [line.split(maxsplit=2) for line in listed.splitlines()]
    parents = {int(pid): int(parent) for pid, parent, *_ in lines}

    def descends(pid):
        while (pid := parents.get(pid, 0)) and pid != ancestor:
            pass
        return pid == ancestor

    return {int(pid): " ".join(command) for pid, _, *command in lines if descends(int(pid))}


def _joined(rank, number, meeting, work, results):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=number)
    try:
        results.put((rank, work()))
    finally:
        torch.distributed.destroy_process_group()
