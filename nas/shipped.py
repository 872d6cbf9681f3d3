"""The search spaces and recipes that come with the package, by their bare names.

In a checkout they lie in its own folders; an installed package carries them inside.
"""

from pathlib import Path
from typing import Literal

from nas.errors import ConfigError, unknown

Kind = Literal["search space", "recipe"]
PACKAGE = Path(__file__).parent
FOLDERS: dict[Kind, tuple[Path, Path]] = {
    "search space": (PACKAGE / "shipped" / "search_spaces", PACKAGE.parent / "search_spaces"),
    "recipe": (PACKAGE / "shipped" / "recipes", PACKAGE.parent / "experiments" / "recipes"),
}


def shipped_files(kind: Kind) -> dict[str, Path]:
    """The YAML files of a kind by their names."""
    folder = next((folder for folder in FOLDERS[kind] if folder.is_dir()), FOLDERS[kind][0])
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def yaml_path(name: str | Path, kind: Kind, *, where: str) -> Path:
    """The file that a path, or the bare name of a shipped one, means; ConfigError with the nearest names for another name.

    A path with a suffix or a folder in it is taken as it is, so that a file that is missing is told as missing.
    """
    path = Path(name)
    if path.suffix or path.is_file() or len(path.parts) > 1:
        return path
    files = shipped_files(kind)
    if str(name) not in files:
        raise ConfigError(f"{where}: {unknown(kind, name, files)} The path of a YAML file will do as well.")
    return files[str(name)]
