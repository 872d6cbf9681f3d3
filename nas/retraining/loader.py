"""Images read batch by batch, each process its part: other processes decode and crop (`views.py`), the device does the rest."""

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from timm.data import create_loader
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nas.data.class_folders import read_file
from nas.data.decoding import AS_STORED, Rendering, as_rgb
from nas.data.manifest import MEAN, STD, Item
from nas.data.source import Source
from nas.errors import ConfigError, NasError, in_one_line
from nas.recipes.by_size import settled
from nas.recipes.full import FullRecipe, Loader
from nas.retraining.operations import operate
from nas.retraining.views import View, Views, draw_by
from nas.training import processes
from nas.training.augment import erased, mixed, normalised
from nas.training.batches import EVALUATION_BATCH, UpdateShare, mixed_seed, own_seed
from nas.training.loss import Batch

JUDGED_BY = "bicubic"  # how images that are judged are scaled
TRIES = 10  # images in a row that can't be read before a training gives up


class Unreadable:
    """Images that could not be read, a line each in a file to which every decoding process appends."""

    def __init__(self, path: Path):
        self.path = Path(path)

    def note(self, name: str, error: Exception) -> None:
        """Adds an image and why it could not be read."""
        why = in_one_line(error)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{name}\t{why}\n")

    def refuse_above(self, share: float, *, of: int) -> None:
        """ConfigError when more than `share` of so many images were found unreadable."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        reasons = dict(line.split("\t", 1) for line in lines if "\t" in line)
        if len(reasons) > share * of:
            names = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:3])
            raise ConfigError(
                f"at most {share:.1%} of the images may be unreadable (unreadable_share), but {len(reasons)} of {of} are, "
                f"listed in {self.path}: {names}. Mend or remove them, or raise unreadable_share."
            )


class Listed(Dataset):
    """Listed images as they are judged, decoded when they are asked for; one that can't be has the label -1. timm's loader sets
    `transform`."""

    def __init__(self, source: Source, items: tuple[Item, ...], *, broken: Unreadable, rendering: Rendering):
        self.source, self.items, self.broken, self.rendering = source, items, broken, rendering
        self.transform: Callable[[Image.Image], Tensor] | None = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        name, label = self.items[number]
        assert self.transform is not None, "only timm's loader reads these"
        try:
            return self.transform(as_rgb(self.undecoded(number), self.rendering)), label
        except Exception as error:  # a broken file can make a decoder raise anything; it is noted and counted
            self.broken.note(name, error)
            return self.transform(Image.new("RGB", (1, 1))), -1

    def undecoded(self, number: int) -> Image.Image:
        """An image whose pixels are perhaps not read yet; raises anything."""
        return self.source.read(self.source.place(self.items[number][0]))[0]

    def of(self, numbers: list[int]) -> "Listed":
        """Only these, in this order."""
        chosen = tuple(self.items[i] for i in numbers)
        return type(self)(self.source, chosen, broken=self.broken, rendering=self.rendering)


class Viewed(Dataset):
    """Views of some of the images and their labels, drawn by the epoch's seed and an image's number in the list alone; one that
    can't be read has the next one in its place, so that every batch is full."""

    def __init__(self, images: Listed, numbers: list[int], views: Views, *, seed: int):
        self.images, self.numbers, self.views, self.seed = images, numbers, views, seed

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple[View, int]:
        for i in range(place, place + TRIES):
            number = self.numbers[i % len(self)]
            name, label = self.images.items[number]
            draw_by(self.seed, number)
            try:
                return self.views(self.images.undecoded(number)), label
            except Exception as error:  # likewise
                self.images.broken.note(name, error)
        raise NasError(
            f"{TRIES} images in a row can't be read; they are listed in {self.images.broken.path}. Is the disk there?"
        )


class Loaded:
    """Training batches; the images that are left when an epoch is cut into whole batches change each time."""

    def __init__(self, images: Listed, recipe: FullRecipe):
        parts_of(recipe)  # or its error
        self.images, self.recipe = images, recipe
        self.loader = loader_of(recipe)
        self.steps = len(images) // recipe.batch_size
        self.num_images = self.steps * recipe.batch_size
        if not self.steps:
            raise ConfigError(
                f"batch_size: must be at most the {len(images)} training images, but got {recipe.batch_size}. Lower it."
            )

    def epoch(self, number: int, *, seed: int, device: torch.device) -> Iterator[UpdateShare]:
        """Each image at most once, over all processes."""
        drawn = mixed_seed(seed, number)
        order = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(drawn))
        shares = order[: self.num_images].view(self.steps, processes.world(), -1)  # (steps, processes, images)
        views = views_of(self.recipe, self.images.rendering, number=number)
        own = Viewed(self.images, shares[:, processes.rank()].flatten().tolist(), views, seed=drawn)
        yield from shares_of(own, self.recipe, self.loader, number=number, seed=seed, device=device, steps=self.steps)
        self.images.broken.refuse_above(self.recipe.unreadable_share, of=len(self.images))


class LoadedJudged:
    """Images read by timm's loader, of which each process judges an equal part; those that can't be read are left out."""

    def __init__(self, images: Listed, recipe: FullRecipe):
        self.images, self.recipe, self.num_images = images, recipe, len(images)
        self.loader = loader_of(recipe)

    def chunks(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """In the order of the list."""
        own = self.images.of(list(range(processes.rank(), len(self.images), processes.world())))
        for images, labels in judging_loader(own, self.recipe, self.loader, device):
            read = labels >= 0
            yield (images, labels) if read.all() else (images[read], labels[read])
        self.images.broken.refuse_above(self.recipe.unreadable_share, of=len(self.images))


def loader_of(recipe: FullRecipe) -> Loader:
    """How timm's loader reads for a recipe that has one."""
    assert recipe.loader is not None, "without a loader the images lie in memory"
    return recipe.loader


def parts_of(recipe: FullRecipe) -> int:
    """Into how many equal parts a process cuts its share of a batch; ConfigError where the processes' shares aren't equal."""
    share, rest = divmod(recipe.batch_size, processes.world())
    if rest:
        raise ConfigError(
            f"batch_size: must be a multiple of the {processes.world()} processes, so that each has an equal share, but got "
            f"{recipe.batch_size}. Take {share * processes.world() or processes.world()}, or another number of processes."
        )
    most = min(share, recipe.device_batch or share)
    return next(parts for parts in range(1, share + 1) if share % parts == 0 and share // parts <= most)


def views_of(recipe: FullRecipe, rendering: Rendering, *, number: int) -> Views:
    """The views that a recipe trains on in an epoch."""
    size = recipe.size_at(number)
    return Views(loader_of(recipe), size=size, rendering=rendering, area=recipe.crop_scale, flip=recipe.flip)


warnings.filterwarnings("ignore", message="This DataLoader will create")  # more processes than cores, as the recipe has it


def shares_of(
    images: Dataset, recipe: FullRecipe, loader: Loader, *, number: int, seed: int, device: torch.device, steps: int
) -> Iterator[UpdateShare]:
    """This process's shares of an epoch, augmented and mixed part by part; `images` gives views and labels."""
    drawn, parts = own_seed(mixed_seed(seed, number)), parts_of(recipe)
    draw_by(drawn)  # what a stream is seen by, where this process reads it
    generator = torch.Generator(device).manual_seed(drawn)
    batches = iter(
        DataLoader(
            images,
            recipe.batch_size // processes.world() // parts,
            num_workers=loader.workers,
            pin_memory=device.type == "cuda",
            drop_last=True,
        )  # its processes end with the epoch, so that an epoch's draws never depend on the one before
    )
    for _ in range(steps):
        mixed_batches = []
        for view, labels in islice(batches, parts):
            seen = _laid_out(augmented(view, recipe, device=device, generator=generator), recipe)
            labels = labels.to(device, non_blocking=True)
            mixed_batches.append(Batch(*mixed(seen, recipe, generator=generator), labels, partners=labels.flip(0)))
        yield UpdateShare(mixed_batches, recipe.batch_size)


def augmented(view: View, recipe: FullRecipe, *, device: torch.device, generator: torch.Generator) -> Tensor:
    """A batch of views (uint8 `(B, 3, S, S)`, `(B,)`, `(B, L, 2)`) as the network is shown them, on the device, normalised."""
    pixels, mirrored = (part.to(device, non_blocking=True) for part in (view.pixels, torch.as_tensor(view.mirrored)))
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(3), pixels)
    pixels = operate(pixels, view.steps).permute(0, 2, 3, 1)  # (B, S, S, 3)
    images = normalised(pixels, channels_last=recipe.channels_last)  # (B, 3, S, S)
    if not recipe.random_erasing:
        return images
    return erased(images, probability=recipe.random_erasing, fill=loader_of(recipe).erasing, generator=generator)


def judging_loader(
    images: Dataset, recipe: FullRecipe, loader: Loader, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images as they are, scaled and cut from the middle, and their labels."""
    shape, batch_size = (3, recipe.full_size, recipe.full_size), min(EVALUATION_BATCH, recipe.device_batch or EVALUATION_BATCH)
    batches = create_loader(
        images, shape, batch_size, interpolation=JUDGED_BY, crop_pct=settled(loader.test_crop), **_shared(loader, device)
    )
    return ((_laid_out(part, recipe), labels) for part, labels in batches)


def seen_by_loader(recipe: FullRecipe, files: Sequence[Path], size: int) -> Tensor:
    """Image files as a training with timm's loader is judged by them: `(N, 3, size, size)`."""
    loader = loader_of(recipe).model_copy(update={"workers": 0})
    items = tuple((str(file.absolute()), 0) for file in files)
    with tempfile.TemporaryDirectory() as scratch:
        images = Listed(
            Source({}, None, partial(read_file, Path("/"))), items, broken=Unreadable(Path(scratch) / "x"), rendering=AS_STORED
        )
        batches = judging_loader(images, recipe.model_copy(update={"image_size": size}), loader, torch.device("cpu"))
        return torch.cat([pixels.cpu() for pixels, _ in batches])


def _shared(loader: Loader, device: torch.device) -> dict[str, Any]:
    return {
        "mean": MEAN,
        "std": STD,
        "num_workers": loader.workers,
        "pin_memory": device.type == "cuda",
        "device": device,
        "persistent_workers": False,
    }


def _laid_out(images: Tensor, recipe: FullRecipe) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last if recipe.channels_last else torch.contiguous_format)
