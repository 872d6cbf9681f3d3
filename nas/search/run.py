"""A search from its settings to a full record: limits checked, data listed, trials run, what was found kept."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from optuna.storages import BaseStorage
from rich.console import Console

from nas.cluster.session import check_machines
from nas.cluster.stopping import Stopping
from nas.data.draw import make_manifest
from nas.data.manifest import Manifest, check_place, decode_images, prepare_images, read_manifest
from nas.data.progress import shown_decoding
from nas.data.registry import data_root
from nas.errors import few
from nas.run.cache import ResultCache
from nas.run.driver import Driver, driving
from nas.run.folder import RunFolder, check_folder, open_folder, restored_folder, update_folder
from nas.run.front import front_records, near_front
from nas.run.reading import check_record
from nas.run.record import UNFINISHED, Record
from nas.run.settings.search import Search, check_possible
from nas.run.storage import check_storage, close_storage, open_storage, patient, storage_errors, watched
from nas.search.progress import SearchProgress
from nas.search.sources import SourceCopy, keep_sources, learnt_sources, overlapping
from nas.search.study import Study
from nas.search.tune import run_trials
from nas.space.plugins.plugin import plugin_line
from nas.training.remote import train_remotely

CLASSES_SHOWN = 5  # names


def run_search(settings: Search, *, root: Path, console: Console) -> RunFolder:
    """Run or continue the search in the folder `root`; NasError before anything is trained if it cannot begin."""
    check_possible(settings)
    check_machines(settings.resources.address, workers=settings.resources.workers, cpu=settings.resources.cpu)
    check_storage(settings)
    manifest_file = RunFolder(Path(root)).manifest
    manifest = read_manifest(manifest_file) if manifest_file.exists() else _new_manifest(settings, console)
    check_place(manifest, settings.proxy.data)
    settings = _with_teacher(settings, manifest)
    check_record(settings, there := check_folder(root, settings), manifest_hash=manifest.hash)
    sources = learnt_sources(settings, there)
    folder = open_folder(root, settings)
    with Stopping() as stopping, storage_errors(settings, folder):
        storage = open_storage(settings, folder, create=True)
        saved = partial(_bring_back, root, settings, manifest)
        try:
            with (
                watched(settings, folder, before_saving=saved) as held,
                driving(storage, settings.name, on_wait=console.print, held=held) as driver,
            ):
                _prepare_data(manifest, settings, folder, console)
                keep_sources(settings, folder, sources)
                waiting = partial(_wait, console=console, stopping=stopping, driver=driver)
                steady = patient(storage, on_wait=waiting)
                _drive(settings, folder, manifest, sources, steady, driver=driver, stopping=stopping, console=console)
        finally:
            close_storage(storage)
    return folder


def _with_teacher(settings: Search, manifest: Manifest) -> Search:
    """The search with the digest of its teacher, if it has one; what is wrong with that is said once, before any trial."""
    distillation = settings.proxy.distillation
    if distillation is None:
        return settings
    # Loads torch, which no other search needs before its workers do
    from nas.training.distillation.loss import check_teacher

    digest = check_teacher(settings.proxy, manifest.class_names, where="proxy")
    taught = distillation.model_copy(update={"digest": digest})
    return settings.model_copy(update={"proxy": settings.proxy.model_copy(update={"distillation": taught})})


def _drive(
    settings: Search,
    folder: RunFolder,
    manifest: Manifest,
    sources: list[SourceCopy],
    storage: BaseStorage,
    *,
    driver: Driver,
    stopping: Stopping,
    console: Console,
) -> None:
    """Say what is searched with, and search."""
    learnt = overlapping(settings, sources)
    console.print("\n".join([_about(manifest, settings), *learnt.remarks]), soft_wrap=True)
    shared = _shared(settings, folder, manifest, console)
    with SearchProgress(settings, console) as progress:
        study = Study(
            settings,
            folder,
            manifest_hash=manifest.hash,
            storage=storage,
            driver=driver,
            shared=shared,
            history=learnt.history(settings),
        )
        update_folder(folder, settings)
        progress.watch(study)
        _run(study, folder, manifest, progress, stopping=stopping)


def _shared(settings: Search, folder: RunFolder, manifest: Manifest, console: Console) -> ResultCache | None:
    """The results of other runs, if they are to be used; what there are is said."""
    if not settings.search.cache:
        return None
    say = partial(console.print, soft_wrap=True)
    shared = ResultCache(settings, folder, manifest_hash=manifest.hash, say=say)
    say(f"results of equal trainings are shared with other runs (search.cache): {shared.number:,} in {shared.folder}")
    return shared


def _bring_back(root: Path, settings: Search, manifest: Manifest) -> None:
    """What a search needs to go on where the whole folder was removed: its settings, its images by name."""
    manifest.write(restored_folder(root, settings).manifest)


def _wait(message: str, *, console: Console, stopping: Stopping, driver: Driver) -> None:
    """While the storage is away: say so once, and stop if a signal or another driver wants that."""
    if message:
        console.print(message, soft_wrap=True)
    stopping.check()
    driver.check()


def _new_manifest(settings: Search, console: Console) -> Manifest:
    with shown_decoding(console, image_size=settings.proxy.full_size) as on_decoded:
        return make_manifest(settings.proxy, seed=settings.split_seed, on_decoded=on_decoded)


def _prepare_data(manifest: Manifest, settings: Search, folder: RunFolder, console: Console) -> None:
    """Check the decoded images before any trial could stumble over one, and put the manifest beside the record."""
    size = settings.proxy.full_size
    with shown_decoding(console, image_size=size) as on_decoded:
        prepare_images(manifest, image_size=size, root=data_root(settings.proxy.data), on_decoded=on_decoded)
    if not folder.manifest.exists():
        manifest.write(folder.manifest)
    for path in (folder.weights(0), folder.checkpoint(0)):
        path.parent.mkdir(exist_ok=True)


def _about(manifest: Manifest, settings: Search) -> str:
    """What is trained and judged on, and what there is to mind about it."""
    names = few(list(manifest.class_names), most=CLASSES_SHOWN)
    number, each = len(manifest.class_names), settings.proxy.images_per_class
    some = "" if each is None else f", {each:,} of each class (proxy.images_per_class=null takes all)"
    head = (
        f"data: {settings.proxy.data}, {number} classes ({names}), {len(manifest.train):,} images to train on, "
        f"{len(manifest.validation):,} to judge by{some}; the test split is not read (manifest {manifest.hash})"
    )
    counted = settings.counted_elsewhere(number)
    plugins = [plugin_line(plugin) for plugin in settings.space.plugins]
    return "\n".join([head, *manifest.remarks, *([counted] if counted else []), *settings.seen.remarks, *plugins])


def _run(study: Study, folder: RunFolder, manifest: Manifest, progress: SearchProgress, *, stopping: Stopping) -> None:
    settings, there = study.search, manifest.in_file(folder.manifest)
    work = partial(
        train_remotely,
        recipe=settings.proxy,
        manifest=there,
        seed=settings.training_seed,
        device="cuda" if settings.resources.gpu else "cpu",
        root=data_root(settings.proxy.data),
    )

    on_change = noting(study, folder, progress, images=len(manifest.validation))
    if study.has_work:
        prepare = partial(decode_images, there, image_size=settings.proxy.full_size, root=data_root(settings.proxy.data))
        run_trials(
            study,
            folder,
            work=work,
            resources=settings.resources,
            prepare=prepare,
            console=progress.console,
            stopping=stopping,
            on_change=on_change,
        )
    study.settle()
    _drop_files(study, folder, near_front(study.records, settings, images=len(manifest.validation)))


def noting(study: Study, folder: RunFolder, progress: SearchProgress, *, images: int) -> Callable[[], None]:
    """What is to be done whenever the record changed: the display is told, and files that an ended trial leaves are removed."""
    num_ended, best = -1, list[Record]()

    def on_change() -> None:
        nonlocal num_ended, best
        if study.num_ended != num_ended:
            num_ended, best = study.num_ended, front_records(study.records, study.search)
            _drop_files(study, folder, near_front(study.records, study.search, images=images))
        progress.changed(best)

    return on_change


def _drop_files(study: Study, folder: RunFolder, near: list[Record]) -> None:
    """Remove the checkpoint of every ended trial, and its weights where it is neither near the front nor a baseline."""
    records = study.records
    unfinished = {r.number for r in records if r.state in UNFINISHED}
    kept = unfinished | {r.number for r in records if r.baseline} | {r.number for r in near}
    weights, checkpoints = folder.weights(0).parent.glob("*.safetensors"), folder.checkpoint(0).parent.glob("*.pt")
    old = [p for p in weights if p.stem.isdigit() and int(p.stem) not in kept]
    old += [p for p in checkpoints if int(p.stem) not in unfinished]
    for path in old:
        with suppress(OSError):  # of a disk that is away for a while; the next change of the record comes here again
            path.unlink(missing_ok=True)
