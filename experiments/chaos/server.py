"""A database server of a benchmark's own."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Server(NamedTuple):
    """A PostgreSQL server of this benchmark's own."""

    control: Callable[..., None]
    url: str


@contextmanager
def postgresql(folder: Path, *, port: int = 54329) -> Iterator[Server]:
    """Debian's PostgreSQL in `folder`, run as the user postgres where this process is root, which it refuses to be."""
    (programs,) = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1:]
    as_user = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
    folder.mkdir()
    if as_user:
        shutil.chown(folder, "postgres")

    def call(program: str, *arguments: str) -> None:
        command = [*as_user, str(programs / program), "-D", str(folder), *arguments]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)

    def control(*arguments: str) -> None:
        call("pg_ctl", "-w", "-l", str(folder / "log"), "-o", f"-p {port} -k {folder}", *arguments)

    call("initdb", "--auth=trust", "--username=nas")
    control("start")
    try:
        yield Server(control, f"postgresql+psycopg2://nas:secret@127.0.0.1:{port}/postgres")
    finally:
        control("stop", "-m", "immediate")
