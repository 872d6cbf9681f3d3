"""What ended a worker, in words: Ray tells it in paragraphs."""

import re
import time
from collections.abc import Iterable

from nas.cluster.nodes import host_of
from nas.cluster.quiet import ray
from nas.errors import CAUSE_LENGTH, NasError, in_one_line

WHERE = re.compile(r"hostname='([^']+)',\s*node_id='([^']+)'")  # in what Ray Train says of a worker
ADDRESS = re.compile(r"^\s*ip: (\S+)", re.MULTILINE)  # in what Ray says of an actor
UNCONNECTED = re.compile(r"connection (closed|reset)|broken pipe|nccl|timed out", re.IGNORECASE)  # as torch's groups say it
SENTENCE_LENGTH = 160
NOTICE_SECONDS = 8.0  # in which a lost node is known as such


def short_cause(text: str) -> str:
    """The first line of what Ray says of a lost worker, without its list of what may have caused it."""
    return (text.strip().splitlines() or [""])[0].split(" Some common causes")[0][:CAUSE_LENGTH]


def host_of_death(text: str) -> str | None:
    """The machine on which a worker ended, by what Ray says of it: also of one that never came to run."""
    address = ADDRESS.search(text)
    there = [host_of(node) for node in ray.nodes() if address and node["NodeManagerAddress"] == address[1]]
    return there[-1] if there else None


def first_cause(failures: Iterable[BaseException]) -> BaseException:
    """Of what several workers ended by, the one that explains the others: a NasError, a worker or node that is gone, any."""
    causes = [getattr(failure, "cause", None) or failure for failure in failures]
    return min(causes, key=lambda cause: (not isinstance(cause, NasError), not WHERE.search(str(cause))))


def loss_in_words(cause: BaseException) -> str:
    """A clause that says what happened to a worker, such as "the node gpu3 is gone"."""
    why = getattr(cause, "health_check_failure", cause)
    place = WHERE.search(str(cause))
    host = f" on {place[1]}" if place else ""
    if isinstance(why, ray.exceptions.OutOfMemoryError):
        return f"the memory{host} was full and Ray ended the worker there"
    if place and isinstance(why, ray.exceptions.RayActorError):
        return f"the node {place[1]} is gone" if _is_gone(place[2]) else f"the worker{host} is gone"
    if place:
        return f"the worker{host} does not answer"
    text = in_one_line(why, most=SENTENCE_LENGTH)
    if UNCONNECTED.search(text):
        return f"a worker lost the connection to another ({text})"
    return f"a worker failed with {text}"


def _is_gone(node: str) -> bool:
    """Whether a node, of which a worker died, is known to be gone as well; Ray needs a moment to notice."""
    until = time.monotonic() + NOTICE_SECONDS
    while any(each["NodeID"] == node and each["Alive"] for each in ray.nodes()):
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True
