"""A search from its settings to a full record: limits checked, data listed, trials run, what was found kept."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from nas.errors import NasError
from nas.search.decoding_bar import shown_decoding
from nas.search.folder import RunFolder, open_folder
from nas.search.progress import Progress
from nas.search.record import front
from nas.search.settings import Search
from nas.search.storage import storage_errors
from nas.search.study import Study
from nas.search.tune import check_address, run_trials
from nas.space.constraints import check_reachable
from nas.training.data import Manifest, make_manifest, prepare, read_manifest
from nas.training.distill import teacher_of
from nas.training.proxy import score
from nas.training.sources import is_folder

SHOWN = 5  # skipped files named


def search(settings: Search, *, root: Path, console: Console) -> RunFolder:
    """Run or continue the search in the folder `root`; NasError before anything is written if it cannot begin."""
    check_reachable(settings.space, settings.constraints)
    check_address(settings.resources.address)
    begun = RunFolder(Path(root)).manifest
    manifest = read_manifest(begun) if begun.exists() else _new_manifest(settings, console)
    if settings.proxy.distillation is not None:
        teacher_of(settings.proxy, num_classes=len(manifest.class_names))  # a missing teacher is said once, before any trial
    folder = open_folder(root, settings)
    with alone(folder), storage_errors(settings, folder):
        _prepare_data(manifest, settings, folder, console)
        console.print(_about(manifest), highlight=False, soft_wrap=True)
        with Progress(settings, console) as progress:
            study = Study(settings, folder, manifest_hash=manifest.hash)
            progress.watch(study)
            try:
                _run(study, folder, manifest, progress)
            finally:
                study.close()
    return folder


def _new_manifest(settings: Search, console: Console) -> Manifest:
    with shown_decoding(console, image_size=settings.proxy.full_size) as told:
        return make_manifest(settings.proxy, seed=settings.search.seed, on_decoded=told)


def _prepare_data(manifest: Manifest, settings: Search, folder: RunFolder, console: Console) -> None:
    """Check the decoded images before any trial could stumble over one, and put the manifest beside the record."""
    size = settings.proxy.full_size
    with shown_decoding(console, image_size=size) as told:
        prepare(manifest, image_size=size, root=_data_root(settings), on_decoded=told)
    if not folder.manifest.exists():
        manifest.write(folder.manifest)
    folder.weights(0).parent.mkdir(exist_ok=True)


def _data_root(settings: Search) -> Path | None:
    """Where the images lie now; the manifest may have been made when they lay elsewhere."""
    return Path(settings.proxy.data) if is_folder(settings.proxy.data) else None


def _about(manifest: Manifest) -> str:
    """What is trained and judged on, and every file that was left out up to a handful."""
    lines = [
        f"data: {manifest.data}, {len(manifest.class_names)} classes, {len(manifest.train):,} images to train on, "
        f"{len(manifest.validation):,} to judge by; the test split is not read (manifest {manifest.hash})"
    ]
    lines += [f"  skipped {name}: {why}" for name, why in manifest.skipped[:SHOWN]]
    if len(manifest.skipped) > SHOWN:
        lines.append(f"  and {len(manifest.skipped) - SHOWN:,} more, listed in manifest.json")
    return "\n".join(lines)


def _run(study: Study, folder: RunFolder, manifest: Manifest, progress: Progress) -> None:
    settings = study.search
    work = partial(
        score,
        recipe=settings.proxy,
        manifest=manifest,
        seed=settings.search.seed,
        device="cuda" if settings.resources.gpu else "cpu",
        root=_data_root(settings),
    )

    def on_change() -> None:
        _drop_weights(study, folder)
        progress.changed()

    if study.has_work:
        run_trials(study, folder, work=work, resources=settings.resources, on_change=on_change)


def _drop_weights(study: Study, folder: RunFolder) -> None:
    """Remove the weights of every ended trial that is neither on the front nor a baseline."""
    kept = {r.number for r in study.records if r.state == "running" or r.baseline}
    kept |= {r.number for r in front(study.records, study.search)}
    for path in folder.weights(0).parent.glob("*.safetensors"):
        if path.stem.isdigit() and int(path.stem) not in kept:
            path.unlink(missing_ok=True)


@contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Makes this the only driver of the run; NasError if there is one already. A killed driver's lock is free."""
    try:
        with FileLock(folder.root / ".lock", timeout=0):
            yield
    except Timeout:
        raise NasError(f"{folder.root}: another search is running there. Wait for it, or choose another --out.") from None
