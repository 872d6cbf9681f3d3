"""A proxy training by its name: what a driver hands to its workers without loading torch, which takes seconds, itself."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.training.curve import Outcome


def score(*given: Any, **settings: Any) -> "Outcome":
    """`nas.training.proxy.score`, loaded where it is called."""
    from nas.training import proxy

    return proxy.score(*given, **settings)
