"""Room for workers on Ray's nodes: what each holds of one, how many there are places for, and what an autoscaler brings."""

import json
import math
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, NamedTuple

from nas.cluster.quiet import ray
from nas.errors import NasError
from nas.units import duration

FLOAT_ERROR = 1e-9
UNKNOWN = 1e9  # of whatever an autoscaler can bring: it is waited for
USABLE = 0.9  # of a card's memory, which CUDA itself takes a part of in every process
PLACED_SECONDS = 5.0  # within which a cluster with room gives it
FEWER_AFTER_SECONDS = 60.0  # of waiting for all workers, as few as allowed begin


class WorkerShare(NamedTuple):
    """What of its machine a worker may use."""

    cpu: float
    gpu: float

    def keep(self) -> None:
        """Hold this process to its threads, and on a card that others use to its part of the memory: a training that needs more
        is cut into smaller batches there, whoever its neighbours are."""
        import torch

        torch.set_num_threads(max(1, int(self.cpu)))
        if 0 < self.gpu < 1:
            torch.cuda.set_per_process_memory_fraction(self.gpu * USABLE)

    def __str__(self) -> str:
        return f"{self.cpu:g} CPU and {self.gpu:g} GPU" if self.gpu else f"{self.cpu:g} CPU"

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray asks for it."""
        return {"CPU": self.cpu, **({"GPU": self.gpu} if self.gpu else {})}

    def places_in(self, resources: dict[str, float]) -> int:
        """Workers for which a node with these resources has room; one that asks for a part of a card gets it on one card."""
        places = resources.get("CPU", 0) / self.cpu
        if self.gpu:
            cards = resources.get("GPU", 0)
            places = min(places, cards / self.gpu if self.gpu >= 1 else cards * math.floor(1 / self.gpu + FLOAT_ERROR))
        return math.floor(places + FLOAT_ERROR)


def num_places(share: WorkerShare, *, without: Container[str] = ()) -> int:
    """Workers for which the living nodes of the started Ray have room, were nobody else on them."""
    return sum(share.places_in(node) for node in node_resources(without=without))


def node_resources(*, without: Container[str] = ()) -> list[dict[str, float]]:
    """What each living node has in all."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"] and node.get("NodeID") not in without]


def most_by_autoscaler() -> dict[str, float]:
    """What the cluster can have in all once its autoscaler has started every node that it may; nothing where there is none.

    UNKNOWN for one that doesn't say, as Ray's own don't.
    """
    most = ray._private.state.state.get_max_resources_from_cluster_config()
    if not most:
        return dict.fromkeys(("CPU", "GPU"), UNKNOWN) if has_autoscaler() else {}
    return {name: float(number) for name, number in most.items()}


def has_autoscaler() -> bool:
    """Whether nodes are started in the started Ray as they are asked for."""
    from ray.autoscaler.v2.utils import is_autoscaler_v2  # here, because Ray must first be imported by nas.cluster.quiet
    from ray.experimental.internal_kv import _internal_kv_get

    if is_autoscaler_v2(fetch_from_server=True):  # of KubeRay and `ray up`
        return True
    status = json.loads(_internal_kv_get(ray._private.ray_constants.DEBUG_AUTOSCALING_STATUS) or "{}")
    kinds = status.get("autoscaler_report", {}).get("node_type_mapping") or {}
    return any(kind != f"node_{number}" for number, kind in kinds.items())  # names of its plan, and not of Ray's making


def any_gpu() -> bool:
    """Whether the cluster has a GPU, or its autoscaler can start a node that has; NasError where nobody can say."""
    if any(node.get("GPU", 0) for node in node_resources()):
        return True
    most = most_by_autoscaler().get("GPU", 0)
    if most == UNKNOWN:
        raise NasError(
            "--device: the cluster has no GPU now, and its autoscaler doesn't say whether it can start a node that has. Say "
            "--device cuda to wait for one, or --device cpu."
        )
    return most > 0


class Team(NamedTuple):
    """Workers that train together and must all be placed at once."""

    workers: int
    share: WorkerShare
    least: int
    """As few as this may begin where there is no room for all."""
    wait_seconds: float
    """How long room is waited for."""

    def __str__(self) -> str:
        return f"{self.workers} worker{'s' if self.workers > 1 else ''} with {self.share} each"


def placed(team: Team, *, sizes: Callable[[int], bool], on_wait: Callable[[str], None]) -> int:
    """Waits for room for the whole team, or for a part of it that may begin, and gives its number of workers.

    `sizes` says which numbers of workers can train together. NasError where there is no room in time.
    """
    began, said = monotonic(), ""
    with _asked_for(team.workers, team.share) as whole:
        while not whole.wait(timeout_seconds=PLACED_SECONDS):
            waited, there = monotonic() - began, num_places(team.share)
            if waited > FEWER_AFTER_SECONDS and (fewer := _fewer(team, there, sizes)):
                return fewer
            if waited > team.wait_seconds:
                raise NasError(f"no room for {team} in {duration(waited)}: {_why(team, there)}. {_way_out(team)}")
            if (why := _why(team, there)) != said:
                said = why
                on_wait(f"waiting up to {duration(team.wait_seconds)} for room for {team}: {why}")
    return team.workers


def _fewer(team: Team, there: int, sizes: Callable[[int], bool]) -> int | None:
    """The largest part of a team for which there is room now."""
    for number in range(min(there, team.workers - 1), team.least - 1, -1):
        if not sizes(number):
            continue
        with _asked_for(number, team.share) as part:
            if part.wait(timeout_seconds=PLACED_SECONDS):
                return number
    return None


@contextmanager
def _asked_for(workers: int, share: WorkerShare) -> Iterator[Any]:
    """Places that Ray holds within the block once it has them, and an autoscaler starts nodes for."""
    group = ray.util.placement_group([share.bundle] * workers, strategy="PACK")
    try:
        yield group
    finally:
        ray.util.remove_placement_group(group)


def _why(team: Team, there: int) -> str:
    if there >= team.workers:
        return "others hold the places"
    return f"the cluster has room for {there}"


def _way_out(team: Team) -> str:
    fewer = "" if team.least < team.workers else f", or allow fewer with --min-workers {max(1, team.workers // 2)}"
    return f"Wait longer with --wait-for-cluster, ask for fewer --workers{fewer}; the same command goes on."
