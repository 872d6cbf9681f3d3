"""What trainings came to, shared by all runs of a machine, or of all that see one folder, so that none is done twice.

$NAS_RESULTS, or results/ in $NAS_CACHE, holds a folder for each way of training, named by the hash of all that decides what
comes of it (recipe, images, seed, kind of device, our code and the libraries that compute) and explained in its setup.json; in
it lies a file for each architecture. A file is written whole under a name of its own and then renamed: any number of searches
can read and write at once, and the folder can be moved and deleted at any time. Only what came to an accuracy is kept.
"""

import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import Field, ValidationError

import nas
from nas.callbacks import ignore
from nas.config.values import Value
from nas.data.cache import cache_folder
from nas.errors import NasError, in_one_line
from nas.files import in_home
from nas.recipes.recipe import plain_recipe
from nas.run.folder import RunFolder, versions
from nas.run.record import Origin
from nas.run.settings.search import Search
from nas.space.architecture import Architecture
from nas.training.curve import Epoch

RESULTS_VARIABLE = "NAS_RESULTS"
FORMAT = 1  # of the files
SETUP_FILE = "setup.json"
COMPUTING = ("nas", "torch", "timm", "numpy")  # by whose version results differ
TRAINING_CODE = ("space", "recipes", "models", "data", "training")  # packages that decide what a training comes to
LOST_SECONDS = 3600.0  # after which a half-written file is no writer's any more


class KeptResult(Value):
    """What one training came to."""

    accuracy: Annotated[float, Field(ge=0, le=1)]
    curve: Annotated[tuple[Epoch, ...], Field(min_length=1)]
    source: Origin
    architecture: dict[str, Any]


class KeptFile(NamedTuple):
    """A result's file, as `nas cache` counts it."""

    path: Path
    size: int
    """Bytes."""
    used: float
    """When it was last written or answered from, in seconds since 1970."""


def results_folder() -> Path:
    """$NAS_RESULTS, or results/ beside the decoded images."""
    named = os.environ.get(RESULTS_VARIABLE)
    if not named:
        return cache_folder() / "results"
    return in_home(named, way_out=f"Set {RESULTS_VARIABLE} to a folder that can be written")


def way_of_training(search: Search, *, manifest_hash: str) -> dict[str, Any]:
    """All that decides what an architecture's training comes to, as plain data; a teacher is what its digest says."""
    recipe = plain_recipe(search.proxy)
    if recipe["distillation"]:
        recipe["distillation"] = {n: v for n, v in recipe["distillation"].items() if n not in ("teacher", "weights")}
    return {
        "format": FORMAT,
        "recipe": recipe,
        "manifest": manifest_hash,
        "seed": search.training_seed,
        "device": "cuda" if search.resources.gpu else "cpu",
        "versions": {**computing(versions()), "code": _code()},
    }


def computing(installed: Mapping[str, str]) -> dict[str, str | None]:
    """Of installed versions those that results depend on."""
    return {name: installed.get(name) for name in COMPUTING}


@cache
def _code() -> str:
    """Twelve hexadecimal digits of the source that trains: a mixer that was changed is another one under the same name."""
    root, text = Path(nas.__file__).parent, hashlib.sha256()
    for path in sorted(path for name in TRAINING_CODE for path in (root / name).rglob("*.py")):
        text.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return text.hexdigest()[:12]


class ResultCache:
    """The kept results of trainings like those of one search in the run `folder`; what ails it is said, and ends nothing."""

    def __init__(self, search: Search, folder: RunFolder, *, manifest_hash: str, say: Callable[[str], None] = ignore):
        self._setup, self._run, self._say = way_of_training(search, manifest_hash=manifest_hash), folder.root.resolve(), say
        self._name = _checksum(self._setup)[:16]
        self.folder = results_folder() / self._name
        self._is_broken = False

    @property
    def number(self) -> int:
        """How many results there are now."""
        return sum(1 for _ in kept_files(self.folder))

    def answer(self, architecture: Architecture) -> KeptResult | None:
        """What an equal training came to; None where there was none, or its file is damaged, which is then thrown away."""
        path = self._path(architecture)
        try:
            text = path.read_text(encoding="utf-8")
            result = _parsed(text, setup=self._name, identity=architecture.identity)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._break(error)
            return None
        except (ValueError, RecursionError) as error:
            with suppress(OSError):
                path.unlink()
            self._say(f"{path}: the kept result was damaged and is thrown away; it is trained again: {_why(error)}")
            return None
        with suppress(OSError):  # of a folder that is only read from
            os.utime(path)
        return result

    def keep(self, architecture: Architecture, *, trial: int, accuracy: float, curve: tuple[Epoch, ...]) -> None:
        """Put a training's result down, unless an equal one is there."""
        path = self._path(architecture)
        if self._is_broken or not curve or path.exists():
            return
        seconds = round(sum(epoch.seconds for epoch in curve), 3)
        source = Origin(run=str(self._run), trial=trial, host=socket.gethostname(), seconds=seconds)
        result = KeptResult(accuracy=accuracy, curve=curve, source=source, architecture=architecture.to_dict())
        content = {"setup": self._name, "identity": architecture.identity, "result": result.model_dump(mode="json")}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / SETUP_FILE).exists():
                _write(self.folder / SETUP_FILE, json.dumps(self._setup, indent=1))
            _write(path, json.dumps({**content, "sha256": _checksum(content)}))
        except OSError as error:
            self._break(error)

    def _path(self, architecture: Architecture) -> Path:
        return self.folder / f"{architecture.identity}.json"

    def _break(self, error: OSError) -> None:
        if not self._is_broken:
            self._is_broken = True
            self._say(f"{self.folder}: results are not shared with other runs any more: {error.strerror or error}")


def kept_files(folder: Path) -> Iterator[KeptFile]:
    """The files of all results below a folder, however many searches write there."""
    for path in sorted(folder.rglob("[0-9a-f]*.json")):
        with suppress(OSError):  # it went this instant
            stat = path.stat()
            yield KeptFile(path, stat.st_size, stat.st_mtime)


class WayOfTraining(NamedTuple):
    """A folder of results, as `nas cache` shows it."""

    name: str
    number: int
    size: int
    """Bytes."""
    used: float
    """When one was last written or answered from, in seconds since 1970."""
    setup: Any
    """What its setup.json holds; None where it holds nothing that can be read."""

    def facts(self) -> tuple[str, ...]:
        """What a person tells it by: epochs, images, seed, device, versions."""
        setup = self.setup if isinstance(self.setup, dict) else {}
        recipe, installed = (part if isinstance(part := setup.get(n), dict) else {} for n in ("recipe", "versions"))
        named = ", ".join(f"{name} {version}" for name, version in installed.items())
        return (*(str(part) for part in (recipe.get("epochs"), *map(setup.get, ("manifest", "seed", "device")))), named)


def ways_of_training() -> list[WayOfTraining]:
    """The folders of results, the last used first."""
    folders = [path for path in results_folder().glob("*") if path.is_dir()]
    files = {folder: list(kept_files(folder)) for folder in folders}
    ways = [
        WayOfTraining(folder.name, len(own), sum(f.size for f in own), max(f.used for f in own), _setup(folder))
        for folder, own in files.items()
        if own
    ]
    return sorted(ways, key=lambda way: -way.used)


def _setup(folder: Path) -> Any:
    try:
        return json.loads((folder / SETUP_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def prune(*, unused_days: float | None = None, keep_bytes: int | None = None) -> list[KeptFile]:
    """Removes results that nothing was answered from for so long, then the longest unused ones until the others are no more
    than so many bytes; gives what was removed."""
    folder, now = results_folder(), time.time()
    if not folder.is_dir():
        return []
    files = sorted(kept_files(folder), key=lambda file: -file.used)
    chosen, total = [], 0
    for file in files:
        total += file.size
        is_old = unused_days is not None and now - file.used > unused_days * 86_400
        if is_old or (keep_bytes is not None and total > keep_bytes):
            chosen.append(file)
    for file in chosen:
        _remove(file.path)
    for setup in [path for path in folder.iterdir() if path.is_dir()]:
        for half in setup.glob(".*.part"):
            if now - half.stat().st_mtime > LOST_SECONDS:
                _remove(half)
        if not any(kept_files(setup)):
            shutil.rmtree(setup, ignore_errors=True)
    return chosen


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise NasError(f"{path}: can't be removed: {error.strerror}. Mend its folder's permissions.") from None


def _parsed(text: str, *, setup: str, identity: str) -> KeptResult:
    """A result's file; ValueError where it is not what was written, or lies where another belongs."""
    content = json.loads(text)
    if not isinstance(content, dict) or content.pop("sha256", None) != _checksum(content):
        raise ValueError("its checksum is another")
    if (content.get("setup"), content.get("identity")) != (setup, identity):
        raise ValueError("it is of another training")
    return KeptResult.model_validate(content["result"])


def _why(error: Exception) -> str:
    return "it is none of this version" if isinstance(error, ValidationError) else in_one_line(error)


def _checksum(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """The file, whole, whoever else writes it: each writer has a name of its own until the file is there."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise
