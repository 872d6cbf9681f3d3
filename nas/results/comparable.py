"""Whether numbers of two runs mean the same: what makes them incomparable is refused, what needs a grain of salt is marked."""

from typing import Any

from nas.config.layers import changed_settings
from nas.errors import NasError
from nas.run.reading import Reading

MEANS_SOMETHING_ELSE = (
    "objectives",
    "devices",
    "image_size",
    "num_classes",
    "data",
)  # what makes numbers of two runs incomparable


def differences_that_matter(one: Reading, other: Reading) -> dict[str, tuple[Any, Any]]:
    """What makes accuracies or costs of the two runs mean different things, by name; settings that do not are left out."""
    meanings = [_meaning(reading) for reading in (one, other)]
    return {name: (meanings[0][name], meanings[1][name]) for name in meanings[0] if meanings[0][name] != meanings[1][name]}


def _meaning(reading: Reading) -> dict[str, Any]:
    search, manifests = reading.search, sorted({r.manifest for r in reading.records if r.manifest})
    devices = [f"{name} by the file {file.key}" for name, file in search.foretold.items() if name in search.objectives]
    recipe = search.proxy.model_dump(
        mode="json", exclude={"rungs", "data", "image_size", "precision", "channels_last", "compile"}
    )
    return {
        "objectives": ", ".join(search.objectives),
        "devices": ", ".join(devices),
        "image_size": f"counted at {search.space.image_size} px, trained at {search.proxy.full_size} px",
        "num_classes": search.space.num_classes,
        "data": ", ".join(manifests) or "none yet",
        "recipe": recipe,
    }


def refuse(one: Reading, other: Reading, differences: dict[str, tuple[Any, Any]]) -> None:
    """NasError if one of the differences makes the two runs' numbers incomparable."""
    wrong = [name for name in MEANS_SOMETHING_ELSE if name in differences]
    if not wrong:
        return
    lines = "\n".join(f"  {name}: {differences[name][0]} and {differences[name][1]}" for name in wrong)
    raise NasError(
        f"{one.folder.root} and {other.folder.root}: must share data, resolution and objectives to be compared, "
        f"but differ:\n{lines}\n{_way_out(one, other, wrong)}"
    )


def _way_out(one: Reading, other: Reading, wrong: list[str]) -> str:
    seeds = one.search.split_seed, other.search.split_seed
    if wrong == ["data"] and seeds[0] != seeds[1]:
        return (
            f"Their images were split by different seeds, {seeds[0]} and {seeds[1]}. Search again, into a new --out, with "
            f"--set search.split_seed={seeds[0]}, beside any --seed."
        )
    return "Search again with the same data and sizes, or look at each by itself."


def marks(differences: dict[str, tuple[Any, Any]]) -> list[str]:
    """What to keep in mind where two runs can be compared but not blindly."""
    if "recipe" not in differences:
        return []
    changed = changed_settings(*differences["recipe"])
    one, other = ("; ".join(f"{name} {pair[side]}" for name, pair in changed.items()) for side in (0, 1))
    return [f"mind: the recipes differ ({one} against {other})."]
