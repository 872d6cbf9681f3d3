"""A cluster's address: its form, whether Ray's head answers there, and how it lets this process in."""

import os
import socket
import subprocess
import sys
from typing import NamedTuple

from nas.cluster import authentication
from nas.cluster.authentication import MODE, TOKEN_SOURCES, WITH_TOKEN, WITHOUT
from nas.cluster.quiet import ray
from nas.errors import NasError

AUTO = "auto"
CLIENT = "ray://"
FORM = f"must be {AUTO} or HOST:PORT of the cluster's head"
MAX_PORT = 65535
GREETING_SECONDS = 3
ANSWER_SECONDS = 15  # of a head that is busy, and Ray's import in a process of its own

# in a process of its own: it can be stopped, while Ray itself would wait most of a minute for a port that is not its own, and
# what Ray prints of a refusal stays there. First comes HTTP/2's greeting, which a head answers with its settings, the fourth of
# their bytes being a 4 (RFC 9113, sections 3.4 and 4.1): what only waits to be asked is known in three seconds
KNOCK = """
import os, socket, sys
def greet(address):
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=3) as connection:
        connection.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + bytes(3) + b"\\x04" + bytes(5))
        return connection.recv(9, socket.MSG_WAITALL)[3:4] == b"\\x04"
try:
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("0", "", "false") and not greet(sys.argv[1]):
        raise ConnectionError
    from ray._raylet import GcsClient
    GcsClient(address=sys.argv[1])
    answer = "welcome"
except BaseException as error:
    answer = type(error).__name__
print("answer", answer, flush=True)
os._exit(0)
"""


class Cluster(NamedTuple):
    """A cluster whose head lets this process in."""

    address: str
    """HOST:PORT of the head."""
    variables: dict[str, str]
    """Of the environment, with which it does."""


def reach(address: str) -> Cluster:
    """The head at "auto" or HOST:PORT; NasError in seconds where the form is wrong, nobody answers, or the token is refused."""
    where = f"resources.address {address}"
    head = address
    if address == AUTO:
        head = _discovered(where)
        where = f"{where} ({head})"
    host, port = _host_and_port(head, where=where)
    _connect(ray._private.services.resolve_ip_for_localhost(host), port, where=where)  # as Ray will
    return Cluster(head, {MODE: _mode(head, where=where)})


def _discovered(where: str) -> str:
    """Where the cluster runs that this machine is a node of, or that RAY_ADDRESS names."""
    try:
        return ray._private.services.get_ray_address_from_environment(AUTO, None)
    except ConnectionError:
        raise NasError(
            f"{where}: must stand on a node of a running cluster, but no Ray runs on this machine. "
            "Start one with `ray start --head`, or give the head's HOST:PORT."
        ) from None


def _host_and_port(address: str, *, where: str) -> tuple[str, int]:
    if address.startswith(CLIENT):
        host = address.removeprefix(CLIENT).partition(":")[0] or "HOST"
        raise NasError(
            f"{where}: {FORM}, but {CLIENT} is Ray's client, behind which trials cannot report to the search. "
            f"Start the search on a machine of the cluster with {AUTO} or {host}:6379 (the port of `ray start --head`)."
        )
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or not port.isdecimal() or "/" in address or (":" in host and not bracketed):
        raise NasError(f"{where}: {FORM}, such as 10.0.0.1:6379, but this is neither. Mend the address.")
    if not 0 < int(port) <= MAX_PORT:
        raise NasError(f"{where}: nobody answers there: a port is a number from 1 to {MAX_PORT}. Mend the address.")
    return host.strip("[]"), int(port)


def _connect(host: str, port: int, *, where: str) -> None:
    try:
        socket.create_connection((host, port), timeout=GREETING_SECONDS).close()
    except (OSError, UnicodeError) as error:  # the latter for what is no name
        raise NasError(f"{where}: nobody answers there: {error} ({host}). Start the cluster, or mend the address.") from None


def _mode(head: str, *, where: str) -> str:
    """The mode in which the head lets this process in; a token is shown where it is asked for, or the user says so."""
    asked = authentication.asked_mode()
    shows_token = asked == WITH_TOKEN and authentication.token_source()
    if not shows_token and _lets_in(head, WITHOUT, where=where):
        return WITHOUT
    if asked == WITHOUT:
        raise NasError(f"{where}: the cluster asks for its token, but {MODE} is {WITHOUT}. Unset it, or make it {WITH_TOKEN}.")
    source = authentication.token_source()
    if source is None:
        raise NasError(
            f"{where}: the cluster asks for its token, but there is none in {TOKEN_SOURCES}. "
            "`ray get-auth-token` on the head prints it."
        )
    if not _lets_in(head, WITH_TOKEN, where=where):
        raise NasError(
            f"{where}: the cluster refuses the token in {source}. Put the cluster's own into {TOKEN_SOURCES}: "
            "`ray get-auth-token` on the head prints it."
        )
    return WITH_TOKEN


def _lets_in(head: str, mode: str, *, where: str) -> bool:
    """Whether the head answers a client in this mode; NasError where what answers is no head of Ray's."""
    command = [sys.executable, "-P", "-c", KNOCK, head]
    try:
        heard = subprocess.run(
            command, env={**os.environ, MODE: mode}, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        answer = f"no answer in {ANSWER_SECONDS} s"
    else:
        answer = (heard.stdout.partition("answer ")[2] or "no answer").strip()
    if answer not in ("welcome", "AuthenticationError"):
        raise NasError(
            f"{where}: Ray's head must answer there, but something else does ({answer}). "
            "Give the port of `ray start --head --port=...`, which is 6379 where none was named."
        )
    return answer == "welcome"
