"""One training of a calibration and the images it needs, without Ray, so that other programs can run them as well."""

from collections.abc import Callable, Mapping
from pathlib import Path

from rich.console import Console

from nas.calibration.plan import Plan
from nas.calibration.record import Training, hashed
from nas.calibration.scores import scores_of
from nas.callbacks import ignore
from nas.data.decoding import OnDecoded
from nas.data.draw import make_manifest
from nas.data.manifest import AnyManifest, Manifest, ManifestFile, decode_images, prepare_images, read_manifest
from nas.data.progress import shown_decoding
from nas.data.registry import data_root
from nas.recipes.recipe import Proxy
from nas.run.folder import RunFolder
from nas.training.curve import Outcome
from nas.training.proxy import train_proxy

WHICH_DATA = (
    "data", "classes", "images_per_class", "validation_share", "unreadable_share", "keep_copies", "white", "max_pixels",
)  # fmt: skip


def with_data(plan: Plan, folder: RunFolder, console: Console) -> Plan:
    """The plan with its images listed and decoded and its trainings in order."""
    search, manifests = plan.search, {}
    drawn: dict[Path, Manifest] = {}  # of each data setting, whose images are decoded for that
    for name, recipe in plan.fidelities.items():
        path = _manifest_file(recipe, folder, seed=search.split_seed)
        with shown_decoding(console, image_size=recipe.full_size) as on_decoded:
            if path not in drawn:
                drawn[path] = _manifest(path, recipe, seed=search.split_seed, on_decoded=on_decoded)
            manifests[name] = drawn[path]
            prepare_images(manifests[name], image_size=recipe.full_size, root=data_root(recipe.data), on_decoded=on_decoded)
    trainings = tuple(
        Training(
            fidelity=fidelity,
            name=name,
            architecture=architecture,
            recipe=recipe,
            manifest=manifests[fidelity].hash,
            seed=search.training_seed + seed,
        )
        for seed in range(search.calibration.seeds)
        for fidelity, recipe in plan.fidelities.items()
        for name, architecture in plan.architectures.items()
    )
    return plan._replace(manifests=manifests, trainings=trainings)


def _manifest(path: Path, recipe: Proxy, *, seed: int, on_decoded: Callable) -> Manifest:
    """The images of a data setting: as they were drawn when the calibration began, else drawn now."""
    return read_manifest(path) if path.exists() else make_manifest(recipe, seed=seed, on_decoded=on_decoded)


def _manifest_file(recipe: Proxy, folder: RunFolder, *, seed: int) -> Path:
    setting = hashed([recipe.model_dump(mode="json", include=set(WHICH_DATA)), seed])
    return folder.calibration / "manifests" / f"{setting}.json"


def write_manifests(plan: Plan, folder: RunFolder) -> None:
    """Put down which images a calibration's fidelities have, where that was not done before."""
    for name, recipe in plan.fidelities.items():
        path = _manifest_file(recipe, folder, seed=plan.search.split_seed)
        if not path.exists():
            plan.manifests[name].write(path)


def manifest_files(plan: Plan, folder: RunFolder) -> dict[str, ManifestFile]:
    """What workers are sent of the manifests that were put down, by fidelity."""
    seed = plan.search.split_seed
    return {name: plan.manifests[name].in_file(_manifest_file(r, folder, seed=seed)) for name, r in plan.fidelities.items()}


def decode_for(
    fidelities: Mapping[str, Proxy], manifests: Mapping[str, AnyManifest], *, on_decoded: OnDecoded = ignore
) -> None:
    """What the trainings of each fidelity read, decoded where this machine's cache lacks it."""
    for name, recipe in fidelities.items():
        root = data_root(recipe.data)
        decode_images(manifests[name], image_size=recipe.full_size, root=root, on_decoded=on_decoded)


def score_one(beginning: Training, *, manifests: Mapping[str, AnyManifest]) -> dict[str, float] | None:
    """The scores of one untrained network in a worker."""
    manifest, root = manifests[beginning.fidelity], data_root(beginning.recipe.data)
    return scores_of(beginning.architecture, beginning.recipe, manifest=manifest, seed=beginning.seed, root=root)


def train_one(
    training: Training, *, manifests: Mapping[str, AnyManifest], device: str, checkpoint: Path | None = None
) -> Outcome:
    """One training in a worker; with a `checkpoint` it goes on where an earlier call was killed."""
    manifest, root = manifests[training.fidelity], data_root(training.recipe.data)
    return train_proxy(
        training.architecture, training.recipe, manifest, seed=training.seed, device=device, checkpoint=checkpoint, root=root
    )
