"""The fresh process that proves exports: many directories at once, each judged by itself."""

import random
from pathlib import Path

import pytest
import torch

from nas.errors import NasError
from nas.export.directory import Description, drafted, write_export
from nas.export.proof import prove, rounding
from nas.models.metaformer import build
from nas.run.settings import read_search
from nas.space.architecture import Architecture, Stage
from nas.space.constraints import random_architecture
from nas.space.reference import design

torch.set_num_threads(1)
ABOUT = Description(class_names=None, mean=(0.5,) * 3, std=(0.2,) * 3, provenance={})
SPACES = Path(__file__).parents[2] / "search_spaces"


def shaken(architecture, *, size, seed=0):
    """A network in which every weight counts: fresh layer scales would hide what their branches compute."""
    torch.manual_seed(seed)
    net = build(architecture, image_size=size, num_classes=5)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.2 * torch.randn_like(parameter) + 0.3)
    return net.eval()


def written(architecture, directory, *, size=32, change=None):
    """The directory of a shaken network, after `change` of the text of its model.py, and the logits expected of it."""
    prepared = drafted(architecture, shaken(architecture, size=size).state_dict(), ABOUT, image_size=size, num_classes=5)
    if change is not None:
        prepared = prepared._replace(texts={**prepared.texts, "model.py": change(prepared.texts["model.py"])})
    directory.mkdir()
    write_export(prepared, directory)
    return prepared


def stages(*mixers, **options):
    return Architecture(
        stages=[Stage(mixer=m, depth=1, width=w, **options) for m, w in zip(mixers, (48, 64, 320), strict=False)]
    )


@pytest.mark.slow
def test_one_process_judges_every_directory_by_itself(tmp_path):
    """Torch multiplies a map of 4 positions, as C has, another way when the weights were made in inference mode."""
    own = stages("pool", "pool", "spatial_fc")
    names = {
        "a": (design("poolformerv2_s12"), None),
        "b": (stages("pool", "conv", "attention", norm="group", mlp_ratio=2), None),
        "c": (own, None),
        "nudged": (own, None),
        "other": (own, lambda text: text.replace("return average(x, self.size) - x", "return average(x, self.size)")),
        "ours": (own, lambda text: text + "\nimport nas\n"),
        "foreign": (own, lambda text: text + "\nimport pandas\n"),
    }
    expected = {}
    for name, (architecture, change) in names.items():
        prepared = written(architecture, tmp_path / name, change=change)
        expected[tmp_path / name] = prepared.logits
        assert prepared.level.letter.lower() == name or name not in "abc"
    nudged = expected[tmp_path / "nudged"] = expected[tmp_path / "nudged"].clone()
    nudged[0, 0] = torch.nextafter(nudged[0, 0], torch.tensor(9.0))
    proofs = {proof.directory.name: proof for proof in prove(expected)}
    assert [proofs[name].difference for name in "abc"] == [0.0, 0.0, 0.0]
    assert 0 < proofs["nudged"].difference < 1e-6
    assert proofs["other"].difference > 1e-3
    assert "must not need the package nas" in proofs["ours"].error and proofs["ours"].difference is None
    assert "must not need the package pandas" in proofs["foreign"].error


@pytest.mark.parametrize("found", [torch.tensor([[0.5, 0.1]]), torch.tensor([[5000.0, 0.1]])])
def test_what_is_written_may_round_and_no_more(found):
    scale = max(1.0, found.max().item())
    assert rounding(found, found + 5e-5 * scale) == pytest.approx(5e-5 * scale, rel=0.1)
    with pytest.raises(NasError, match="must compute the logits of the one found, but they differ by up to"):
        rounding(found, found + 2e-4 * scale)


@pytest.mark.slow
def test_random_architectures_of_the_flagship_space_come_back_bit_for_bit(tmp_path):
    space, rng, expected = read_search(SPACES / "hybrid.yaml").space, random.Random(7), {}
    for i in range(12):
        expected[tmp_path / str(i)] = written(random_architecture(space, rng), tmp_path / str(i), size=64).logits
    assert [proof.difference for proof in prove(expected)] == [0.0] * 12
