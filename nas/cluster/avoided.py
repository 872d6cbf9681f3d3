"""Nodes on which nothing more is placed: those that can't train, and for a trial those on which it was lost before."""

from collections import defaultdict
from collections.abc import Container, Iterable

from nas.cluster.nodes import alive_nodes, host_of
from nas.cluster.quiet import ray

IN_A_ROW = 3  # trials lost on one node, none ended there in between
NODE = "ray.io/node-id"  # Ray's own label of each node


class Avoided:
    """The nodes of a cluster that are kept out of use, and those that may have to be."""

    def __init__(self, unfit: Iterable[str] = ()):
        self.unfit = set(unfit)  # by Ray's numbers of nodes
        self._lost: dict[str, set[int]] = defaultdict(set)  # trials in a row, by host

    def note_end(self, host: str) -> None:
        """A trial came to its end on a host: what was lost there had other reasons."""
        self._lost.pop(host, None)

    def note_loss(self, host: str, number: int) -> bool:
        """A trial was lost on a host; whether that is one in a row too many, so that the host is left out from now on."""
        self._lost[host].add(number)
        if len(self._lost[host]) < IN_A_ROW:
            return False
        del self._lost[host]
        there = {node["NodeID"] for node in alive_nodes() if host_of(node) == host} - self.unfit
        if not there or not self.leaves_a_node(there | self.unfit):
            return False  # it is gone by itself, or the last one
        self.unfit |= there
        return True

    def for_trial(self, lost_on: Iterable[str] = ()) -> tuple[str, ...]:
        """The nodes on which a trial isn't placed, that was lost on these hosts before; not all that there are."""
        hosts = set(lost_on)
        if not hosts | self.unfit:  # the usual case asks Ray nothing
            return ()
        numbers = self.unfit | {node["NodeID"] for node in alive_nodes() if host_of(node) in hosts}
        return tuple(sorted(numbers if self.leaves_a_node(numbers) else self.unfit))

    def leaves_a_node(self, numbers: Container[str]) -> bool:
        """Whether there are living nodes but these."""
        return any(node["NodeID"] not in numbers for node in alive_nodes())


def selector(avoided: Iterable[str]) -> dict[str, str]:
    """The labels that Ray looks for, so that something is placed on none of these nodes."""
    numbers = ",".join(avoided)
    return {NODE: f"!in({numbers})"} if numbers else {}


def own_node() -> dict[str, str]:
    """The labels by which something is placed on the node of this process."""
    return {NODE: ray.get_runtime_context().get_node_id()}
