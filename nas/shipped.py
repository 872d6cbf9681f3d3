"""The search spaces and recipes that come with the package, by their bare names.

In a checkout they lie in its own folders; an installed package carries them inside.
"""

import os
from pathlib import Path
from typing import Literal

from nas.errors import ConfigError, unknown
from nas.files import at_home

Kind = Literal["search space", "recipe"]
PACKAGE = Path(__file__).parent
FOLDERS: dict[Kind, tuple[Path, Path]] = {
    "search space": (PACKAGE / "shipped_files" / "search_spaces", PACKAGE.parent / "search_spaces"),
    "recipe": (PACKAGE / "shipped_files" / "recipes", PACKAGE.parent / "experiments" / "recipes"),
}


def shipped_files(kind: Kind) -> dict[str, Path]:
    """The YAML files of a kind by their names."""
    folder = next((folder for folder in FOLDERS[kind] if folder.is_dir()), FOLDERS[kind][0])
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def yaml_path(name: str | Path, kind: Kind, *, folder: Path | None = None, where: str | None = None) -> Path:
    """The file that a path, or the bare name of a shipped one, means; ConfigError with the nearest names for another name.

    A path starts in `folder`. With a suffix or a folder in it, it is taken as it is, so that a file that is missing is told as
    missing; only where it would be a shipped one's, the message says so. A bare name may also be that of a file without its
    .yaml, where none that is shipped is called so. `where` names it, if not the command line itself.
    """
    path, files = (folder or Path()) / at_home(str(name)), shipped_files(kind)
    before = f"{where}: " if where else ""
    if os.path.isfile(path):  # a name may be too long to ask the disk
        return path
    if path.suffix or len(Path(name).parts) > 1:
        if not os.path.exists(path) and path.stem in files:
            raise ConfigError(f"{before}{path}: there is no such file. The {kind} that is shipped is called {path.stem}.")
        return path
    if str(name) not in files:
        beside = (folder or Path()) / f"{name}.yaml"
        if Path(name).name == str(name) and os.path.isfile(beside):
            return beside
        raise ConfigError(f"{before}{unknown(kind, name, files)} The path of a YAML file will do as well.")
    return files[str(name)]
