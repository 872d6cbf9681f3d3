"""What a trial's worker says to the driver, as values: that it begins, each epoch, and what it came to.

Ray Tune carries a flat mapping of one worker's report; a message is one JSON text in it. Here alone it is written and read.
"""

import json
from collections.abc import Mapping
from typing import Any

from nas.config import Value
from nas.training.curve import Epoch, Outcome


class Begin(Value):
    """A worker has taken up a trial."""

    host: str
    curve: tuple[Epoch, ...]
    """The epochs that its checkpoint holds."""


KINDS: dict[str, type[Begin] | type[Epoch] | type[Outcome]] = {"begin": Begin, "epoch": Epoch, "outcome": Outcome}


def packed(message: Begin | Epoch | Outcome) -> dict[str, str]:
    """A message as Ray Tune carries it. An outcome goes without its curve, whose epochs were sent one by one."""
    kind = next(kind for kind, value in KINDS.items() if isinstance(message, value))
    content = message.model_dump(mode="json", exclude={"curve"} if isinstance(message, Outcome) else None)
    return {kind: json.dumps(content)}


def unpacked(report: Mapping[str, Any]) -> Begin | Epoch | Outcome | None:
    """The message in a report of a worker's; None where it holds none."""
    return next((value.model_validate_json(report[kind]) for kind, value in KINDS.items() if kind in report), None)
