"""The card's numbers: whoever copies its code gets the pixels, and so the predictions, that the network was judged by."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from nas.data.manifest import MEAN, STD
from nas.errors import NasError
from nas.export.directory import Description, drafted
from nas.export.formats.table import WRITERS, check_formats, write_formats
from nas.export.proof import write_samples
from nas.models.metaformer import build
from nas.recipes.full import FullRecipe
from nas.retraining.loader import seen_by_loader
from nas.space.architecture import Architecture, Stage
from nas.winners.lookup import seen_in_memory

NETWORK = Architecture(stages=(Stage(mixer="conv", depth=1, width=16), Stage(mixer="pool", depth=1, width=32)))
SIZE, CLASSES, IMAGES = 45, 10, 100
JUDGED = {
    "in memory": ({}, seen_in_memory),
    "loader": (
        {"interpolation": "bicubic", "crop_pct": 0.9},
        lambda files, size: seen_by_loader(FullRecipe(loader={"workers": 0, "test_crop": 0.9}), files, size),
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A hundred image files, of every kind and of many shapes."""
    folder = tmp_path_factory.mktemp("files") / "all"
    made = write_samples(folder)
    rng = np.random.default_rng(1)
    for i in range(IMAGES - len(made)):
        height, width = rng.integers(20, 200, 2)
        pixels = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((int(width), int(height)), Image.Resampling.BICUBIC).save(folder / f"drawn{i:02}.png")
    return sorted(folder.iterdir())


def export(formats=(), class_names=None, **images):
    torch.manual_seed(1)
    net = build(NETWORK, image_size=SIZE, num_classes=CLASSES)
    about = Description(class_names, MEAN, STD, {}, **images)
    return drafted(NETWORK, net.state_dict(), about, image_size=SIZE, num_classes=CLASSES, formats=formats)


def codes(prepared):
    """The card's code for the pixels, and for each way of asking the network."""
    blocks = [part.split("```")[0] for part in prepared.texts["README.md"].split("```python\n")[1:]]
    place = next(i for i, block in enumerate(blocks) if "def pixels(" in block)
    return blocks[place], blocks[place + 1 :]


@pytest.mark.parametrize("way", JUDGED)
def test_the_cards_code_predicts_what_the_evaluation_does_on_a_hundred_images(files, way):
    images, seen = JUDGED[way]
    prepared = export(**images)
    names: dict[str, object] = {"net": prepared.model}
    exec(codes(prepared)[0], names)
    pixels = torch.from_numpy(np.concatenate([names["pixels"](file) for file in files]))
    judged = seen(files, SIZE)
    assert (pixels - judged).abs().max() < 1e-4
    with torch.inference_mode():
        predicted = prepared.model(pixels).argmax(dim=1)
        assert torch.equal(predicted, prepared.model(judged).argmax(dim=1)) and len(predicted.unique()) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, writer in WRITERS.items() if writer.load is not None])
def test_the_cards_code_for_a_runtime_predicts_the_same_on_a_hundred_images(files, name, tmp_path, monkeypatch):
    try:
        formats = check_formats([name])
    except NasError as error:
        pytest.skip(str(error))
    prepared = export(formats)
    write_formats(prepared.model, formats, tmp_path, image_size=SIZE)
    monkeypatch.chdir(tmp_path)
    pixels, usages = codes(prepared)
    with torch.inference_mode():
        wanted = prepared.model(seen_in_memory(files, SIZE)).argmax(dim=1).tolist()
    assert len(set(wanted)) > 1
    for i, file in enumerate(files):
        names: dict[str, object] = {}
        exec(f"{pixels}\n{usages[1]}".replace('"cat.jpg"', json.dumps(str(file))), names)
        assert names["logits"].argmax() == wanted[i], file.name


def test_the_card_asks_torch_first(files):
    prepared = export()
    pixels, [usage] = codes(prepared)
    names: dict[str, object] = {"net": prepared.model}
    exec(f"{pixels}\n{usage}".replace('"cat.jpg"', json.dumps(str(files[0]))), names)
    assert names["logits"].shape == (1, CLASSES)


def test_the_card_goes_from_an_image_to_its_label(files, tmp_path, monkeypatch, capsys):
    labels = tuple(f"kind {i}" for i in range(CLASSES))
    prepared = export(class_names=labels)
    (tmp_path / "config.json").write_text(prepared.texts["config.json"], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    pixels, [usage, to_label] = codes(prepared)
    names: dict[str, object] = {"net": prepared.model}
    exec(f"{pixels}\n{usage}\n{to_label}".replace('"cat.jpg"', json.dumps(str(files[0]))), names)
    assert capsys.readouterr().out.strip() == labels[names["logits"].argmax()]
    assert "no class has a name" in export().texts["README.md"]
