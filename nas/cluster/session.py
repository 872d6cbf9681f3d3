"""Ray, started quietly on this machine or joined as a cluster."""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nas
from nas.callbacks import ignore
from nas.cluster import authentication
from nas.cluster.address import Cluster, reach
from nas.cluster.head import head_watched
from nas.cluster.quiet import FOR_RAY
from nas.cluster.quiet import ray as ray
from nas.cluster.room import WorkerShare, most_by_autoscaler, node_resources, num_places
from nas.cluster.stopping import own_signals
from nas.cluster.temporary import short_folder
from nas.cores import num_cores
from nas.errors import ConfigError, NasError

if TYPE_CHECKING:  # workers import this file, and need no Optuna
    from nas.run.settings.sections import Resources

OBJECT_STORE_BYTES = 200_000_000
MOST_PER_CORE = 16  # CPUs that workers may ask for, which are processes, over the cores that there are
LISTENS = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
SENT = ("NAS_CACHE",)  # variables that hold on a cluster's nodes as they do here


def num_workers(resources: "Resources", *, without: Container[str] = (), say: Callable[[str], None] = ignore) -> int:
    """Trials at once: as asked for, else as many as the started Ray can run on all other nodes; NasError if that is none.

    What there is to `say`: that more were asked for than there will be room for.
    """
    share = WorkerShare(resources.cpu, resources.gpu)
    possible = num_places(share, without=without)
    most = max(possible, share.places_in(most_by_autoscaler())) if resources.workers else possible
    if most < 1:
        nodes = sorted({_described(node) for node in node_resources(without=without)})
        raise NasError(
            f"resources: a trial asks for {resources.cpu:g} CPU and {resources.gpu:g} GPU, but no node of Ray's has both: "
            f"{'; '.join(nodes)}. "
            "Lower resources.cpu or resources.gpu, or give the --address of a larger cluster; for one with an autoscaler that "
            "starts such nodes, say with --workers how many trials may run at once."
        )
    if resources.workers and resources.workers > most:
        say(f"mind: --workers {resources.workers}, but the cluster has room for {most} at once; the others wait for it")
    return resources.workers or possible


def _described(node: dict[str, float]) -> str:
    return f"{node.get('CPU', 0):g} CPU and {node.get('GPU', 0):g} GPU"


def _local_cpus(resources: "Resources") -> int:
    """What Ray may hand out on this machine: what the asked-for workers need, else the cores this process may use."""
    if resources.workers:
        return math.ceil(resources.workers * resources.cpu)
    return num_cores()


def check_address(address: str | None) -> None:
    """NasError in seconds where no cluster can be joined at an address; Ray itself would try for minutes."""
    if address is not None:
        reach(address)


def check_machines(address: str | None, *, workers: int | None, cpu: float = 1.0) -> None:
    """What `check_address` checks; without one ConfigError where so many workers of `cpu` cores each gain nothing."""
    check_address(address)
    most = int(MOST_PER_CORE * num_cores() / cpu)
    if address is None and workers is not None and workers > max(1, most):
        raise ConfigError(
            f"--workers (resources.workers): must be at most {most} on this machine, {MOST_PER_CORE} for each of its cores, "
            f"but got {workers} at once. Give fewer, or the --address of a cluster."
        )


def _sent() -> dict[str, Any]:
    """What the nodes of a cluster get from here: this package as it is, and where its cache lies."""
    variables = {name: os.environ[name] for name in (*FOR_RAY, *SENT) if name in os.environ}
    return {"py_modules": [str(Path(nas.__file__).parent)], "env_vars": variables}


@contextlib.contextmanager
def _listening(*, here_only: bool) -> Iterator[None]:
    """On Linux Ray listens to the whole network, for whoever has its token; elsewhere to this machine, as here."""
    constants = ray._private.ray_constants
    before, constants.ENABLE_RAY_CLUSTER = constants.ENABLE_RAY_CLUSTER, not here_only  # which has read the variable already
    try:
        with authentication.shown({LISTENS: "0" if here_only else "1"}):  # for the processes that Ray starts
            yield
    finally:
        constants.ENABLE_RAY_CLUSTER = before


def _unprinted(*_: Any, **__: Any) -> None:
    """What Ray would print of a lost worker: the record and the display say it."""


@contextlib.contextmanager
def started_ray(resources: "Resources") -> Iterator[None]:
    """Ray, quiet and closed to the network and to other users, or the cluster at the address asked for."""
    with _own_ray(resources) if resources.address is None else _joined_ray(reach(resources.address)):
        yield


@contextlib.contextmanager
def _own_ray(resources: "Resources") -> Iterator[None]:
    with (
        short_folder() as folder,
        authentication.shown(authentication.own_token()),
        _listening(here_only=True),
        _connected(
            "Ray must be able to start on this machine, or --address must name a running cluster, but:",
            address="local",
            num_cpus=_local_cpus(resources),
            object_store_memory=OBJECT_STORE_BYTES,
            include_dashboard=False,
            _temp_dir=folder,
        ),
    ):
        yield


@contextlib.contextmanager
def _joined_ray(cluster: Cluster) -> Iterator[None]:
    with (
        authentication.shown(cluster.variables),
        _listening(here_only=False),
        head_watched(cluster.address),
        _connected(
            f"resources.address {cluster.address}: its Ray and Python must have this machine's versions, but:",
            address=cluster.address,
            runtime_env=_sent(),
        ),
    ):
        yield


@contextlib.contextmanager
def _connected(trouble: str, **where: Any) -> Iterator[None]:
    # log_to_driver=False leaves the raylet's messages, and there is no setting for those
    ray._private.worker.print_to_stdstream = _unprinted
    try:
        with own_signals():
            ray.init(
                log_to_driver=False,
                logging_level=logging.CRITICAL,  # a lost worker is told in the record and the display, not as a traceback
                **where,
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise NasError(f"{trouble} {error}") from None
    try:
        yield
    finally:
        ray.shutdown()
