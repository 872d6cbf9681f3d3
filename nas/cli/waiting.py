"""The option of all verbs that can run on a cluster: how long one that goes away is waited for."""

import os
from functools import partial
from typing import Annotated

import typer

from nas.cli.app import console
from nas.errors import ConfigError

WaitOption = Annotated[
    str | None,
    typer.Option("--wait-for-cluster", metavar="TIME", help="Where the cluster goes away: wait so long (30min) and go on."),
]


def as_hours(text: str, *, where: str) -> float:
    """The hours that a text such as 30min means; ConfigError names the option `where`."""
    from nas.units import hours_in  # brings pydantic, which a verb's help does not need

    return hours_in(text, where=where)


def start_again(address: str | None, wait: str | None) -> float | None:
    """The seconds of --wait-for-cluster, None without it; with it the first process only starts the command.

    It does so again after each time the cluster went away, and ends as that ended.
    """
    if wait is None:
        return None
    seconds = 3600 * as_hours(wait, where="--wait-for-cluster")
    if address is None:
        raise ConfigError("--wait-for-cluster: is for a cluster, but no --address names one. Give it, or leave this out.")
    from nas.cluster.head import DRIVEN, started_again

    if DRIVEN in os.environ:
        return seconds
    say = partial(console(lasting=True).print, soft_wrap=True)
    raise typer.Exit(started_again(address, patience=seconds, say=say))
