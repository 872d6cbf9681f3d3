"""The command line's frame: the app, the options that several verbs share, and how a verb ends."""

import contextlib
import glob
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from nas import __version__
from nas.errors import ConfigError, NasError, without_long_words
from nas.files import at_home, in_utf8
from nas.passwords import without_password
from nas.shipped import shipped_files
from nas.terminal import Terminal, pasteable, write_anywhere

NO_HOME = "/nonexistent"  # as in Debian's /etc/passwd
MAX_TMPDIR_BYTES = 70  # of the 103 that macOS allows a socket's path, 107 Linux; Python's own part is 31
WIDE = 140  # columns where nobody's terminal says how many

app = typer.Typer(
    help="Neural architecture search over MetaFormer designs: a YAML space in, a Pareto front and working timm models out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def as_path(text: str | Path) -> Path:
    """A path as a shell understands it; a default is one already."""
    if not str(text).strip():
        raise typer.BadParameter("must be a path, but it is empty.")
    return Path(at_home(in_utf8(str(text))))


def run_names(incomplete: str) -> list[str]:
    """Runs whose path begins so, for a shell that completes it."""
    runs = [path.parent for below in ("*", "*/*") for path in Path().glob(f"{below}/search.yaml")]
    return [str(run) for run in runs if str(run).startswith(incomplete)]


def space_names(incomplete: str) -> list[str]:
    """Shipped spaces and YAML files whose name begins so, for a shell that completes it."""
    files = [str(path) for path in Path().glob(f"{glob.escape(incomplete)}*") if path.suffix == ".yaml" or path.is_dir()]
    return [*(name for name in shipped_files("search space") if name.startswith(incomplete)), *files]


path_argument: Callable[..., Any] = partial(typer.Argument, parser=as_path)
path_option: Callable[..., Any] = partial(typer.Option, parser=as_path, metavar="PATH")
SpaceFile = Annotated[
    Path,
    path_argument(
        help=f"A search space: a YAML file, or a shipped one's name ({', '.join(shipped_files('search space'))}).",
        autocompletion=space_names,
    ),
]
Set = Annotated[
    list[str], typer.Option("--set", metavar="A.B=VALUE", help="Any other setting of the YAML, checked like the file.")
]
Run = Annotated[Path, path_argument(help="A run's folder, such as runs/hybrid.", autocompletion=run_names)]
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="digits, an image folder or a tar of one (train/, val/, or classes), or a timm name."),
]
OutOption = Annotated[Path | None, path_option("--out", help="The run's folder.", show_default="runs/NAME")]
AddressOption = Annotated[str | None, typer.Option("--address", help="A running Ray cluster: auto, or host:port.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print one CSV table instead of a table for people.")]
TrialOption = Annotated[int | None, typer.Option("--trial", help="Number of the trial, as in the table of the front.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nas {__version__}")
        raise typer.Exit


@app.callback()
def _frame(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


def console(*, full_width: bool = False, lasting: bool = False) -> Terminal:
    """Where people read. With `full_width` a table that is written into a file or a pipe is not cut; `lasting` belongs to work
    that goes on though nobody can read any more."""
    return Terminal(width=None if sys.stdout.isatty() or not full_width else WIDE, lasting=lasting)


def output_of(*, as_json: bool, as_csv: bool) -> Literal["table", "json", "csv"]:
    """What a verb writes; ConfigError for two things at once."""
    if as_json and as_csv:
        raise ConfigError("--json and --csv: one output at a time, but got both; leave one out.")
    return "json" if as_json else "csv" if as_csv else "table"


def again() -> str:
    """The command that was given, without the password of a storage."""
    python, script = sys.orig_argv[0], Path(sys.argv[0])
    started = [python, "-m", "nas"] if script.name == "__main__.py" else [python, str(script)] if script.suffix else ["nas"]
    if started == ["nas"] and not shutil.which("nas"):
        started = [str(script)]
    return pasteable(*started, *map(without_password, sys.argv[1:]))


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Work that Ctrl-C stops, and that the same command continues."""
    try:
        yield
    except KeyboardInterrupt:
        text = f"\nStopped. Nothing that finished is lost; this continues: {again()}"
        console(lasting=True).print(text, soft_wrap=True)
        raise typer.Exit(130) from None


def as_settings(flags: Mapping[str, object]) -> list[str]:
    """Flags that were given, as settings of the YAML by their dotted paths."""
    from nas.config.text import dump_yaml  # brings pydantic, which a verb's help does not need

    return [f"{path}={dump_yaml(value)}" for path, value in flags.items() if value is not None]


def _spare_the_home() -> None:
    """Nothing here needs a home: one that nobody knows gets a name, and one that is read-only is left alone by matplotlib."""
    if os.path.expanduser("~") == "~":  # a container's user without a name, for whom Ray could not be imported
        os.environ["HOME"] = NO_HOME
    cache = os.environ.get("NAS_CACHE")
    if cache and not os.access(os.path.expanduser("~"), os.W_OK):
        os.environ.setdefault("MPLCONFIGDIR", os.path.join(os.path.expanduser(cache), "matplotlib"))


def _keep_sockets_short() -> None:
    """Torch's processes talk through sockets in the temporary folder, whose paths have a limit: a long TMPDIR is not used."""
    if len(os.fsencode(os.environ.get("TMPDIR", ""))) > MAX_TMPDIR_BYTES:
        for place in ("/tmp", "/var/tmp"):
            if os.access(place, os.W_OK | os.X_OK):
                os.environ["TMPDIR"] = place
                return


def run_reporting(command: Callable[[], object]) -> NoReturn:
    """Call `command`; print a NasError, or a disk that is full or read-only, as one message and exit with code 2."""
    _spare_the_home()
    _keep_sockets_short()
    write_anywhere()
    try:
        command()
    except NasError as error:
        message = str(error)
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        message = f"{error.filename or 'the disk'}: {error.strerror}. Mend this or choose another place, and start again."
    except KeyboardInterrupt:
        sys.exit(130)
    else:
        sys.exit(0)
    Terminal(stderr=True).print(f"error: {without_long_words(message)}", soft_wrap=True)
    sys.exit(2)
