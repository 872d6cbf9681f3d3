"""The command line's frame: the app, the options that several verbs share, and how a verb ends."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from nas.errors import NasError

app = typer.Typer(
    help="Neural architecture search over MetaFormer designs: a YAML space in, a Pareto front and working timm models out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Set = Annotated[
    list[str], typer.Option("--set", metavar="A.B=VALUE", help="Any other setting of the YAML, checked like the file.")
]
Run = Annotated[Path, typer.Argument(help="A run's folder, such as runs/hybrid.")]
DataOption = Annotated[
    str | None,
    typer.Option("--data", help="digits, an image folder or a tar of one (train/, val/, or classes), or a timm name."),
]
StorageOption = Annotated[
    str | None, typer.Option("--storage", help="Optuna storage URL instead of study.db in the run's folder.")
]


def again() -> str:
    """The command that was given, without the password of a storage."""
    from nas.run.folder import without_password

    script = Path(sys.argv[0])
    started = ["python", "-m", "nas"] if script.name == "__main__.py" else ["python", script.name] if script.suffix else ["nas"]
    return shlex.join([*started, *map(without_password, sys.argv[1:])])


def as_settings(flags: dict[str, object]) -> list[str]:
    return [f"{path}={json.dumps(value)}" for path, value in flags.items() if value is not None]


def absolute(data: str | None) -> str | None:
    """A folder's full path, which holds in a worker's process as well; names stay."""
    return str(Path(data).resolve()) if data and Path(data).is_dir() else data


def run_reporting(command) -> NoReturn:
    """Call `command`; print a NasError, or a disk that is full or read-only, as one message and exit with code 2."""
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
    typer.echo(f"error: {message}", err=True)
    sys.exit(2)
