"""An update in pieces equals one in a whole; memory that runs out leaves nothing behind; what several processes need."""

import pytest
import torch
from torch import nn

from nas.models.metaformer import build
from nas.recipes.full import FullRecipe
from nas.space.architecture import Architecture, Stage
from nas.training import update
from nas.training.loop import fit
from nas.training.optimizer import optimizer
from nas.training.update import synchronised
from tests.training.test_loop import QUICK, TRAIN, VALIDATION, SmallMemory, normless


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_its_gradients_add_up():
    whole, halved = normless(), SmallMemory(normless(), room=5)
    exact = QUICK.model_copy(update={"precision": "float32", "clip_grad": None, "mixup": 0.4})
    expected = fit(whole, TRAIN, VALIDATION, exact, seed=0)
    curve = fit(halved, TRAIN, VALIDATION, exact, seed=0)
    assert [epoch.pieces for epoch in curve] == [4, 4, 4]  # batches of 14: 14, 7, then 4 + 4 + 3 + 3
    assert [epoch.train_loss for epoch in curve] == pytest.approx([epoch.train_loss for epoch in expected], abs=1e-4)
    for ours, theirs in zip(halved.inner.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


class Drawing(SmallMemory):
    """One that has drawn, and counted into its batch norm, by the time that memory runs out."""

    def __init__(self, room):
        super().__init__(normless(), room)
        self.norm, self.dropout = nn.BatchNorm2d(3), nn.Dropout(0.3)

    def forward(self, x):
        return super().forward(self.dropout(self.norm(x)))


def test_a_pass_that_did_not_fit_leaves_no_draws_and_no_statistics_behind():
    exact = FullRecipe(image_size=8, epochs=1, batch_size=16, crop_padding=1, warmup_epochs=0.5, lr=0.01, precision="float32")
    small, cut = Drawing(room=7), Drawing(room=99)
    fit(small, TRAIN, None, exact, seed=0)
    fit(cut, TRAIN, None, exact.model_copy(update={"device_batch": 7}), seed=0)
    assert small.norm.num_batches_tracked == cut.norm.num_batches_tracked == 2 * 5
    for ours, theirs in zip(small.state_dict().values(), cut.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.thorough
@pytest.mark.parametrize(("times", "pieces"), [(1, 2), (2, None)])
def test_memory_that_runs_out_in_the_optimizer_is_tried_once_more_with_smaller_pieces(monkeypatch, times, pieces):
    steps = optimizer(model := normless(), QUICK)
    whole, failures = steps.step, [torch.OutOfMemoryError("CUDA out of memory")] * times
    monkeypatch.setattr(steps, "step", lambda *a, **k: whole(*a, **k) if not failures else _raise(failures.pop()))
    monkeypatch.setattr(update, "optimizer", lambda *_: steps)
    if pieces is None:
        with pytest.raises(torch.OutOfMemoryError):
            fit(model, TRAIN, VALIDATION, QUICK, seed=0)
    else:
        assert {epoch.pieces for epoch in fit(model, TRAIN, VALIDATION, QUICK, seed=0)} == {pieces}


def _raise(error):
    raise error


def test_a_network_that_fits_with_no_batch_says_so():
    with pytest.raises(torch.OutOfMemoryError):
        fit(SmallMemory(normless(), room=1), TRAIN, VALIDATION, QUICK, seed=0)


def test_other_errors_are_no_want_of_memory():
    with pytest.raises(RuntimeError, match="mat1"):
        fit(nn.Sequential(nn.Flatten(), nn.Linear(5, 3)), TRAIN, VALIDATION, QUICK, seed=0)


def test_batch_norms_of_several_processes_keep_their_layout():
    stages = [Stage(mixer=mixer, depth=1, width=8, norm="batch", head_dim=4) for mixer in ("conv", "attention")]
    model = build(Architecture(stages=stages), image_size=16, num_classes=3).eval()
    x = torch.randn(2, 3, 16, 16)
    expected, keys = model(x), list(model.state_dict())
    model = synchronised(model)
    assert torch.equal(model(x), expected) and list(model.state_dict()) == keys
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in model.modules()) == 4
