"""A teacher beside the labels: its losses, where it comes from, and that a training without one stays as it was."""

import copy
import json
import math
import shutil
import sqlite3

import numpy as np
import pytest
import timm
import torch
from torch import nn

from nas.config.values import validated
from nas.data.cache import teachers_folder
from nas.data.draw import make_manifest
from nas.data.manifest import MEAN, STD, Images
from nas.errors import ConfigError, Infeasible
from nas.models.metaformer import build
from nas.models.reparam import merge
from nas.recipes.full import FullRecipe
from nas.recipes.recipe import Distillation, Proxy, Recipe
from nas.retraining.train import retrain_network
from nas.space.architecture import Architecture, Stage
from nas.training.distillation.answers import Remembering
from nas.training.distillation.loss import (
    as_tokens,
    check_teacher,
    hard_loss,
    imitation_loss,
    loss_of,
    soft_loss,
    watched_mixers,
)
from nas.training.distillation.teacher import Renormalised, teacher_of
from nas.training.loop import fit
from nas.training.loss import Batch, label_loss
from nas.training.proxy import save_weights, train_proxy
from nas.training.trained import Network, load_network

CPU = torch.device("cpu")
QUICK = Recipe(image_size=16, epochs=3, batch_size=16, crop_padding=1, warmup_epochs=0.5, lr=0.01, drop_path=0.1)


def architecture(mixer, *, depths=(1, 2), widths=(8, 16)):
    block = {"norm": "group", "norm_bias": True, "mlp_bias": True, "activation": "gelu", "layer_scale": 0.1}
    stages = tuple(Stage(mixer=mixer, depth=d, width=w, **block) for d, w in zip(depths, widths, strict=True))
    return Architecture(stages=stages, head_norm="norm_pool")


def network(mixer, *, seed=0, size=16, classes=3, **shape):
    torch.manual_seed(seed)
    return build(architecture(mixer, **shape), image_size=size, num_classes=classes, drop_path=0.1)


def images(number, *, seed=0):
    draw = np.random.default_rng(seed)
    return Images(draw.integers(0, 256, (number, 16, 16, 3), dtype=np.uint8), draw.integers(0, 3, number))


TRAIN, VALIDATION = images(40), images(20, seed=1)


@pytest.fixture
def teacher(tmp_path):
    """Files of a pooling teacher: its architecture and its weights."""
    (tmp_path / "teacher.json").write_text(json.dumps(architecture("pool").to_dict()))
    save_weights(network("pool", seed=7), tmp_path / "teacher.safetensors")
    return {"teacher": str(tmp_path / "teacher.json"), "weights": str(tmp_path / "teacher.safetensors")}


def taught(teacher, **settings):
    return QUICK.model_copy(update={"distillation": Distillation(**teacher, **settings)})


def curve_of(recipe, *, model=None, **options):
    curve = fit(model or network("affine"), TRAIN, VALIDATION, recipe, seed=0, **options)
    return [epoch.model_dump(exclude={"seconds", "reading_seconds"}) for epoch in curve]


def test_soft_targets_cost_the_divergence_of_the_softened_predictions():
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * math.log(3), 0.0]])  # at temperature 2: 1/2 1/2, 3/4 1/4
    by_hand = 4 * (3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2))
    assert soft_loss(student, teacher, temperature=2).item() == pytest.approx(by_hand, rel=1e-5)


def test_hard_targets_cost_the_surprise_at_the_teachers_class():
    logits, teacher = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]), torch.tensor([[0.1, 9.0], [5.0, 1.0]])
    assert hard_loss(logits, teacher, temperature=1).item() == pytest.approx((math.log(4) + math.log(2)) / 2)


def test_imitation_costs_the_mean_over_blocks_of_the_squared_distance():
    student = [torch.zeros(1, 2, 1), torch.ones(1, 1, 2)]
    teacher = [torch.full((1, 2, 1), 3.0), torch.tensor([[[2.0, 1.0]]])]
    assert imitation_loss(student, teacher).item() == pytest.approx((9 + 0.5) / 2)


def test_a_mixed_image_costs_its_shares_of_both_labels():
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])
    batch = Batch(torch.zeros(2, 3, 4, 4), 0.75, torch.tensor([0, 1]), torch.tensor([1, 0]))
    own, other = (math.log(4 / 3) + math.log(2)) / 2, (math.log(4) + math.log(2)) / 2
    loss = label_loss(logits, batch, Recipe(label_smoothing=0))
    assert loss.item() == pytest.approx(0.75 * own + 0.25 * other)


def test_the_loss_is_the_weighted_sum_of_labels_logits_and_imitation(teacher):
    student, batch = network("affine").eval(), Batch(torch.randn(4, 3, 16, 16), 1.0, *2 * [torch.tensor([0, 1, 2, 0])])
    parts = {}
    for part in ("labels", "logits", "imitation"):
        weights = {"labels": 0, "logits": 1e-30, "imitation": 0} | {part: 1}
        parts[part] = loss_of(taught(teacher, **weights), student, device=CPU)(student, batch).item()
    whole = loss_of(taught(teacher, labels=0.5, logits=2, imitation=3), student, device=CPU)(student, batch).item()
    assert min(parts.values()) > 0
    assert whole == pytest.approx(0.5 * parts["labels"] + 2 * parts["logits"] + 3 * parts["imitation"], rel=1e-5)


def test_what_is_imitated_is_what_the_token_mixers_give():
    model, x = network("pool").eval(), torch.randn(2, 3, 16, 16)
    with watched_mixers(model) as outputs:
        model(x)
    model(x)  # nobody watches any more
    first = model.stages[0].blocks[0]
    expected = first.token_mixer(first.norm1(model.stem(x)))
    assert [tuple(o.shape) for o in outputs] == [(2, 16, 8), (2, 4, 16), (2, 4, 16)]
    assert torch.equal(outputs[0], as_tokens(expected))
    assert outputs[0][1, 5, 3] == expected[1, 3, 1, 1]


def test_a_teacher_whose_share_vanishes_changes_nothing(teacher):
    """It draws nothing, and leaves the student in its mode: the curve is that of the labels alone, to the last bit."""
    assert curve_of(taught(teacher, logits=1e-30)) == curve_of(QUICK)


@pytest.mark.thorough
@pytest.mark.parametrize("changes", [{}, {"ema": 0.9, "mixup": 0.3}, {"precision": "bf16"}, {"channels_last": False}])
def test_a_resumed_training_with_a_teacher_equals_one_that_ran_through(teacher, changes):
    recipe, states = taught(teacher, imitation=1).model_copy(update=changes), []
    whole = curve_of(recipe, save=lambda state: states.append(copy.deepcopy(state)))
    assert curve_of(recipe, state=states[0]) == whole


def test_the_teacher_stays_as_it_is_and_the_student_keeps_no_hook(teacher):
    student = network("affine")
    recipe = taught(teacher, imitation=1)
    loss = loss_of(recipe, student, device=CPU)
    before = copy.deepcopy(loss.teacher.state_dict())
    loss(student, Batch(torch.randn(4, 3, 16, 16), 1.0, *2 * [torch.tensor([0, 1, 2, 0])])).backward()
    assert student.training and not loss.teacher.training
    assert all(torch.equal(before[name], tensor) for name, tensor in loss.teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in loss.teacher.parameters())
    assert not any(module._forward_hooks for module in student.modules())


def test_imitation_alone_brings_the_mixers_closer(teacher):
    student = network("affine")
    recipe = taught(teacher, labels=0, logits=0, imitation=1).model_copy(update={"epochs": 8})
    curve = curve_of(recipe, model=student)
    assert curve[-1]["train_loss"] < 0.7 * curve[0]["train_loss"]


def test_a_taught_student_merges_like_any_other(teacher):
    student = network("affine")
    curve_of(taught(teacher, imitation=1), model=student)
    merged, plain = merge(student, architecture("affine"))
    x = torch.randn(2, 3, 16, 16)
    assert {stage.mixer for stage in plain.stages} == {"identity"}
    assert torch.allclose(merged(x), student.eval()(x), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "difference"),
    [
        ({"depths": (1, 1)}, "it has 3 token mixers and the student 2"),
        ({"widths": (8, 32)}, "its token mixer 2 gives 4 positions of 16 channels and the student's 4 of 32"),
    ],
)
def test_a_student_of_another_shape_cannot_imitate(teacher, shape, difference):
    with pytest.raises(Infeasible, match=difference):
        loss_of(taught(teacher, imitation=1), network("affine", **shape), device=CPU)
    loss_of(taught(teacher), network("affine", **shape), device=CPU)  # its logits it can learn


def test_a_teacher_that_is_no_metaformer_cannot_be_imitated(tmp_path):
    torch.save(timm.create_model("resnet10t", num_classes=3).state_dict(), tmp_path / "resnet.pth")
    resnet = {"teacher": "timm/resnet10t", "weights": str(tmp_path / "resnet.pth")}
    student = network("affine", size=32)
    recipe = taught(resnet).model_copy(update={"image_size": 32})
    loss_of(recipe, student, device=CPU)
    with pytest.raises(Infeasible, match="it has 0 token mixers and the student 3"):
        loss_of(taught(resnet, imitation=1).model_copy(update={"image_size": 32}), student, device=CPU)


def test_a_student_that_cannot_follow_is_an_outcome_of_a_search_and_not_its_end(teacher):
    recipe = Recipe(epochs=2, image_size=16, images_per_class=4, distillation=Distillation(**teacher, logits=0, imitation=1))
    manifest = make_manifest(recipe, seed=0)
    cause = train_proxy(architecture("affine", depths=(1, 1)), recipe, manifest, seed=0).cause
    assert "infeasible: distillation.imitation" in cause
    assert train_proxy(architecture("affine"), recipe, manifest, seed=0).accuracy is not None


def test_logits_of_other_classes_are_refused(teacher):
    with pytest.raises(ConfigError, match="must have the 5 classes of the training, but has 3"):
        loss_of(taught(teacher), network("affine", classes=5), device=CPU)


def test_a_folder_of_a_retraining_is_a_teacher_with_the_stem_that_it_was_trained_with(tmp_path):
    recipe = FullRecipe(epochs=1, warmup_epochs=0.5, images_per_class=8, image_size=16, stem_stride=2)
    manifest = make_manifest(recipe, seed=0)
    retrain_network(architecture("pool"), recipe, manifest, out=tmp_path / "teacher")
    found = load_network(str(tmp_path / "teacher"), weights=None, image_size=16, num_classes=10)
    assert found.model(torch.zeros(1, 3, 16, 16)).shape == (1, 10)
    assert found.model.forward_features(torch.zeros(1, 3, 16, 16)).shape == (1, 16, 4, 4)
    student = recipe.model_copy(update={"distillation": Distillation(teacher=str(tmp_path / "teacher"), imitation=1)})
    result = retrain_network(architecture("affine"), student, manifest, out=tmp_path / "student")
    assert result.setup["recipe"]["distillation"]["teacher"] == str(tmp_path / "teacher")


def test_a_teacher_of_more_classes_answers_for_the_students_in_their_order(tmp_path):
    recipe = FullRecipe(epochs=1, warmup_epochs=0.5, images_per_class=8, image_size=16, stem_stride=2)
    retrain_network(architecture("pool"), recipe, make_manifest(recipe, seed=0), out=tmp_path / "teacher")
    settings = Distillation(teacher=str(tmp_path / "teacher"))
    few = recipe.model_copy(update={"classes": ("3", "7", "9"), "distillation": settings})
    image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = teacher_of(few, num_classes=10, class_names=[str(n) for n in range(10)])(image)
    for names in (("3", "7", "9"), ("9", "3")):
        logits = teacher_of(few, num_classes=len(names), class_names=names)(image)
        assert torch.equal(logits, whole[:, [int(name) for name in names]])
    result = retrain_network(architecture("affine"), few, make_manifest(few, seed=0), out=tmp_path / "student")
    assert result.setup["recipe"]["classes"] == ["3", "7", "9"]
    with pytest.raises(ConfigError, match="must have the 3 classes of the training, but has 10"):
        loss_of(few, network("affine"), device=CPU, class_names=("3", "7", "cat"))


def test_an_imagenet_teacher_answers_for_a_part_of_imagenet_by_wordnets_ids(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("poolformerv2_s12")
    save_weights(model, tmp_path / "weights.safetensors")
    settings = Distillation(teacher="timm/poolformerv2_s12", weights=str(tmp_path / "weights.safetensors"))
    recipe = Recipe(image_size=32, distillation=settings)
    image = torch.randn(1, 3, 32, 32)
    whole = teacher_of(recipe, num_classes=1000)(image)
    part = teacher_of(recipe, num_classes=2, class_names=("n01484850", "n01440764"))(image)
    assert torch.equal(part, whole[:, [2, 0]])


def test_an_unfinished_folder_is_no_teacher(tmp_path):
    with pytest.raises(ConfigError, match=r"distillation\.teacher: .*result\.json.*Finish the training"):
        loss_of(taught({"teacher": str(tmp_path)}), network("affine"), device=CPU)


def test_weights_that_are_missing_are_asked_for(tmp_path, teacher):
    for settings, message in [
        ({"teacher": "poolformer_s12"}, "without weights. Add weights"),
        ({"teacher": "timm/resnet18"}, "nothing is downloaded, but .* has none. Fetch them .*or name a file"),
        ({"teacher": "timm/resnet18", "weights": "/no/such.pth"}, "/no/such.pth is no file"),
        ({**teacher, "weights": str(tmp_path / "none.safetensors")}, "none.safetensors: must be .* but it does not exist"),
        ({"teacher": "caformer_s18.sail_in1k"}, "timm/caformer_s18.sail_in1k: .* has none. Fetch them"),
        ({"teacher": "resnet81"}, "must be .* a model of timm's"),
        ({"teacher": "resnet18.nope"}, "unknown weights of timm's 'resnet18.nope'.*resnet18.a1_in1k"),
        ({"teacher": "timm/caformer_s18.sail_in1"}, "did you mean caformer_s18.sail_in1k"),
        ({"teacher": "timm/resnet81"}, "did you mean"),
        ({"teacher": "runs/no_such"}, "must be a folder of"),
    ]:
        with pytest.raises(ConfigError, match=f"distillation.teacher: .*{message}"):
            loss_of(taught(settings), network("affine"), device=CPU)


def test_weights_of_another_architecture_are_refused_with_their_keys(teacher, tmp_path):
    save_weights(network("affine"), tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"token_mixer\.affine"):
        loss_of(taught({**teacher, "weights": str(tmp_path / "other.safetensors")}), network("affine"), device=CPU)


def test_a_teacher_sees_the_images_as_it_learnt_them():
    half = (0.5, 0.5, 0.5)
    pixel = torch.tensor([0.2, 0.4, 0.9])
    ours = (pixel - torch.tensor(MEAN)) / torch.tensor(STD)
    seen = Renormalised(Network(nn.Identity(), 16, mean=half, std=half))(ours[None, :, None, None])
    assert torch.allclose(seen.flatten(), (pixel - 0.5) / 0.5, atol=1e-6)


def test_a_teacher_that_is_asked_nothing_is_refused():
    with pytest.raises(ValueError, match="drop distillation"):
        Distillation(teacher="timm/resnet18", logits=0)


# Answers kept for other trainings


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))


def remembering(teacher, **settings):
    recipe = Proxy(**{**QUICK.model_dump(), "distillation": Distillation(**teacher, **settings)})
    return recipe, teacher_of(recipe, num_classes=3)


def answers_file():
    (file,) = teachers_folder().glob("*.sqlite")
    return file


def test_a_teacher_is_asked_once_for_all_networks_of_a_seed(teacher, monkeypatch):
    recipe, _ = remembering(teacher)
    asked = []
    monkeypatch.setattr(Renormalised, "forward", lambda self, x, say=Renormalised.forward: asked.append(len(x)) or say(self, x))
    first = curve_of(recipe)
    once, asked[:] = sum(asked), []
    assert curve_of(recipe, model=network("pool", seed=3)) != first
    probed = sum(asked)
    assert probed < len(TRAIN.labels) < once  # shapes and the teacher's identity, no batch
    assert curve_of(recipe) == first
    assert sum(asked) == 2 * probed


def test_remembered_answers_train_as_asked_ones_do(teacher):
    recipe, _ = remembering(teacher)
    settings = recipe.model_dump(include=set(Recipe.model_fields))
    assert curve_of(recipe) == curve_of(Recipe(**settings)) == curve_of(recipe)


@pytest.mark.thorough
@pytest.mark.parametrize("hurt", ["cut", "other bytes", "empty", "a folder", "read only"])
def test_a_damaged_file_of_answers_costs_time_and_no_more(teacher, hurt):
    recipe, _ = remembering(teacher)
    expected = curve_of(recipe)
    file = answers_file()
    content = file.read_bytes()
    for other in file.parent.iterdir():
        other.unlink()
    if hurt == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif hurt == "other bytes":
        file.write_bytes(content[:4096] + bytes(byte ^ 85 for byte in content[4096:]))
    elif hurt == "empty":
        file.touch()
    elif hurt == "a folder":
        file.mkdir()
    else:
        file.write_bytes(content)
        file.chmod(0o400)
    assert curve_of(recipe) == expected


def test_a_file_damaged_behind_its_first_page_is_made_anew(teacher):
    recipe = remembering(teacher)[0].model_copy(update={"epochs": 1})
    expected = curve_of(recipe)
    with sqlite3.connect(answers_file()) as kept:
        kept.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept.close()
    file, size = answers_file(), answers_file().stat().st_size
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * (size - 4096))
    assert curve_of(recipe) == expected  # the teacher is asked, and the file goes
    assert not list(teachers_folder().glob("*.sqlite"))
    assert curve_of(recipe) == expected
    with sqlite3.connect(answers_file()) as kept:
        assert kept.execute("SELECT count(*) FROM answers").fetchone()[0] >= 1


def test_an_answer_whose_bytes_changed_is_asked_again(teacher):
    recipe, _ = remembering(teacher)
    expected = curve_of(recipe)
    with sqlite3.connect(answers_file()) as kept:
        kept.execute("UPDATE answers SET logits = zeroblob(length(logits))")
    assert curve_of(recipe) == expected


def test_teachers_of_other_weights_or_arithmetic_share_no_answers(teacher):
    recipe, model = remembering(teacher)
    other = copy.deepcopy(model)
    next(other.parameters()).add_(1e-3)
    Remembering(model, recipe), Remembering(other, recipe), Remembering(model, recipe.model_copy(update={"precision": "bf16"}))
    assert len(list(teachers_folder().glob("*.sqlite"))) == 3


@pytest.mark.thorough
@pytest.mark.parametrize("content", ["'text of a damaged row'", "NULL", "7", "x'00'"])
def test_what_stands_in_the_place_of_an_answer_is_asked_again(teacher, content):
    recipe, _ = remembering(teacher)
    expected = curve_of(recipe)
    with sqlite3.connect(answers_file()) as kept:
        kept.execute("CREATE TABLE others AS SELECT * FROM answers")
        kept.execute("DROP TABLE answers")
        kept.execute("CREATE TABLE answers (batch BLOB PRIMARY KEY, logits)")
        kept.execute(f"INSERT INTO answers SELECT batch, {content} FROM others")
    assert curve_of(recipe) == expected


def test_batches_of_equal_bytes_and_other_shapes_are_told_apart(teacher):
    recipe, model = remembering(teacher)
    ask = Remembering(model, recipe)
    with torch.no_grad():
        assert ask(torch.zeros(4, 3, 16, 16)).shape == (4, 3) and ask(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize(
    ("changes", "classes", "message"),
    [
        ({"teacher": "nothere", "weights": None}, 3, r"here\.distillation\.teacher: must be a folder"),
        ({}, 4, r"here\.distillation\.logits: the teacher .* must have the 4 classes of the training, but has 3"),
    ],
)
def test_a_teacher_is_looked_at_before_anything_is_trained(teacher, changes, classes, message):
    recipe = taught({**teacher, **changes})
    with pytest.raises(ConfigError, match=message):
        check_teacher(recipe, ["a", "b", "c", "d"][:classes], where="here")
    check_teacher(QUICK, ["a"], where="here")
    check_teacher(taught(teacher), ["a", "b", "c"], where="here")


def test_a_teacher_of_another_size_is_refused_before_anything_is_trained(tmp_path):
    (tmp_path / "teacher.json").write_text(json.dumps(architecture("random").to_dict()))
    save_weights(network("random"), tmp_path / "teacher.safetensors")
    files = {"teacher": str(tmp_path / "teacher.json"), "weights": str(tmp_path / "teacher.safetensors")}
    with pytest.raises(ConfigError):
        check_teacher(taught(files).model_copy(update={"image_size": 24}), ["a", "b", "c"], where="here")


def test_a_teacher_is_known_by_its_weights_wherever_they_lie(teacher, tmp_path):
    digest = check_teacher(taught(teacher), ["a", "b", "c"], where="here")
    (tmp_path / "moved").mkdir()
    moved = {name: shutil.copy(file, tmp_path / "moved") for name, file in teacher.items()}
    assert check_teacher(taught(moved, digest=digest), ["a", "b", "c"], where="here") == digest
    save_weights(network("pool", seed=8), tmp_path / "moved" / "teacher.safetensors")
    with pytest.raises(ConfigError, match=rf"here\.distillation\.digest: must be [0-9a-f]{{16}}, .* but got {digest}"):
        check_teacher(taught(moved, digest=digest), ["a", "b", "c"], where="here")
    assert check_teacher(QUICK, ["a"], where="here") is None


def test_a_digest_that_is_none_is_refused_in_words():
    with pytest.raises(ConfigError, match=r"distillation\.digest: must be 16 digits of 0 to 9 and a to f, but got 'zzz'"):
        validated(Proxy, {"distillation": {"teacher": "x", "digest": "zzz"}}, where="here")
