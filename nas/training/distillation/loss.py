"""Losses with a teacher's logits and the outputs of its token mixers beside the labels."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from nas.errors import ConfigError, Infeasible, in_one_line
from nas.recipes.recipe import Distillation, Proxy, Recipe
from nas.training.distillation.answers import Remembering
from nas.training.distillation.teacher import teacher_of
from nas.training.loss import Batch, Forward, Loss, label_loss, labels_only


def soft_loss(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Divergence of the softened predictions `(B, classes)`, times the squared temperature. arXiv:1503.02531, section 2."""
    student, teacher = ((x / temperature).log_softmax(dim=1) for x in (logits, teacher))
    return temperature**2 * functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def hard_loss(logits: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """Cross-entropy with the classes that the teacher predicts; no temperature changes them. arXiv:2012.12877, equation 3."""
    return functional.cross_entropy(logits, teacher.argmax(dim=1))


LOGITS_LOSSES = {"soft": soft_loss, "hard": hard_loss}


def imitation_loss(student: list[Tensor], teacher: list[Tensor]) -> Tensor:
    """Mean squared error between the token-mixer outputs of both, block by block, as a mean over the blocks."""
    pairs = zip(student, teacher, strict=True)
    return torch.stack([functional.mse_loss(ours.float(), theirs.float()) for ours, theirs in pairs]).mean()


@contextmanager
def watched_mixers(model: nn.Module) -> Iterator[list[Tensor]]:
    """The outputs of a network's token mixers, as tokens `(B, N, C)` in the order they are computed while this is open."""
    outputs: list[Tensor] = []
    mixers = [module for name, module in model.named_modules() if name.rpartition(".")[2] == "token_mixer"]
    handles = [mixer.register_forward_hook(lambda _, __, output: outputs.append(as_tokens(output))) for mixer in mixers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def as_tokens(x: Tensor) -> Tensor:
    """`(B, N, C)` from either layout."""
    return x if x.dim() == 3 else x.flatten(2).transpose(1, 2)  # (B, N, C)


class Distilled:
    """The loss of a student beside its teacher, which sees the same augmented batch in eval mode and without gradients."""

    def __init__(self, recipe: Recipe, settings: Distillation, teacher: Forward):
        self.recipe, self.settings, self.teacher = recipe, settings, teacher

    def __call__(self, model: Forward, batch: Batch) -> Tensor:
        with self._watched(model) as mixed:
            logits = model(batch.images)
        with torch.no_grad(), self._watched(self.teacher) as wanted:
            target = self.teacher(batch.images)
        loss = self.settings.labels * label_loss(logits, batch, self.recipe)
        if self.settings.logits:
            logits_loss = LOGITS_LOSSES[self.settings.targets]
            guided = logits_loss(logits.float(), target.float(), temperature=self.settings.temperature)
            loss = loss + self.settings.logits * guided
        if self.settings.imitation:
            loss = loss + self.settings.imitation * imitation_loss(mixed, wanted)
        return loss

    def _watched(self, model: Forward) -> AbstractContextManager[list[Tensor]]:
        """The outputs of the token mixers; none where nobody compares them, so that they need not stay in memory."""
        if not self.settings.imitation:
            return nullcontext([])
        assert isinstance(model, nn.Module), "a recipe that imitates compiles nothing"
        return watched_mixers(model)


def loss_of(recipe: Recipe, student: nn.Module, *, device: torch.device, class_names: Sequence[str] = ()) -> Loss:
    """What the recipe minimises; ConfigError where there is no such teacher, Infeasible where the student can't follow it.

    `class_names` are the student's: a teacher that knows these among others answers for these alone, in the student's order.
    """
    settings = recipe.distillation
    if settings is None:
        return labels_only(recipe)
    sizes = sorted({recipe.size_at(1), recipe.full_size})
    images = [torch.zeros(1, 3, size, size, device=device) for size in sizes]
    ours = [_answer(student, image) for image in images]
    teacher = teacher_of(recipe, num_classes=ours[0].logits[1], class_names=class_names).to(device)
    if recipe.channels_last:
        teacher = teacher.to(memory_format=torch.channels_last)
    for answer, image in zip(ours, images, strict=True):
        _check(answer, _teachers_answer(teacher, image, settings), settings)
    # Trials see each other's batches; a card answers sooner than a batch is read from it
    is_asked_again = isinstance(recipe, Proxy) and not settings.imitation and device.type == "cpu"
    return Distilled(recipe, settings, Remembering(teacher, recipe) if is_asked_again else teacher)


def check_teacher(recipe: Recipe, class_names: Sequence[str], *, where: str) -> str | None:
    """The digest of the recipe's teacher; None without one.

    ConfigError where it is not there, or does not know these classes or take images of the recipe's sizes; `where` is the
    dotted path of the recipe.
    """
    settings, number = recipe.distillation, len(class_names)
    if settings is None:
        return None
    try:
        teacher = teacher_of(recipe, num_classes=number, class_names=class_names)
        for size in sorted({recipe.size_at(1), recipe.full_size}):
            answer = _teachers_answer(teacher, torch.zeros(1, 3, size, size), settings)
            _check_logits((1, number), answer.logits, settings)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from None
    return teacher.digest


class _Answer(NamedTuple):
    """Shapes of what a network gives for one image."""

    logits: tuple[int, ...]
    mixers: list[tuple[int, ...]]


def _answer(model: nn.Module, image: Tensor) -> _Answer:
    """What the network gives in eval mode; it is left in the mode that it was in, and nothing is drawn."""
    mode = model.training
    with torch.no_grad(), watched_mixers(model) as mixed:
        logits = model.eval()(image)
    model.train(mode)
    return _Answer(tuple(logits.shape), [tuple(x.shape) for x in mixed])


def _teachers_answer(teacher: nn.Module, image: Tensor, settings: Distillation) -> _Answer:
    try:
        return _answer(teacher, image)
    except (RuntimeError, ValueError, AssertionError) as error:  # a size that it was not made for; timm raises all three
        raise ConfigError(
            f"distillation.teacher: {settings.teacher} must take images of {image.shape[-1]} px, but: "
            f"{in_one_line(error).rstrip('.')}. Choose another teacher, or image_size."
        ) from None


def _check_logits(student: tuple[int, ...], teacher: tuple[int, ...], settings: Distillation) -> None:
    if settings.logits and student != teacher:
        raise ConfigError(
            f"distillation.logits: the teacher {settings.teacher} must have the {student[1]} classes of the training, "
            f"but has {teacher[1]}. Choose another teacher, or set logits: 0 and imitate its token mixers."
        )


def _check(student: _Answer, teacher: _Answer, settings: Distillation) -> None:
    _check_logits(student.logits, teacher.logits, settings)
    if settings.imitation and (student.mixers != teacher.mixers or not student.mixers):
        raise Infeasible(
            f"distillation.imitation: the teacher {settings.teacher} must be a MetaFormer of the student's depths, widths and "
            f"map sizes, but {_difference(student.mixers, teacher.mixers)}. Choose another teacher, or set imitation: 0."
        )


def _difference(student: list[tuple[int, ...]], teacher: list[tuple[int, ...]]) -> str:
    """The first thing in which the blocks of two networks differ."""
    if len(student) != len(teacher) or not student:
        return f"it has {len(teacher)} token mixers and the student {len(student)}"
    number, ours, theirs = next((i, a, b) for i, (a, b) in enumerate(zip(student, teacher, strict=True), 1) if a != b)
    return (
        f"its token mixer {number} gives {theirs[1]} positions of {theirs[2]} channels and the student's {ours[1]} of {ours[2]}"
    )
