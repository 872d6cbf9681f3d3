"""Who goes on after a rung: a pure rule over what the record holds."""

from collections.abc import Sequence

MIN_PEERS = 4  # a trial is judged only beside at least so many that cost no more
MACS_SLACK = 1.1  # up to ten per cent more MACs still count as "no more"


def goes_on(macs: int, accuracy: float, peers: Sequence[tuple[int, float]]) -> bool:
    """Whether a trial with `accuracy` at a rung continues, given (macs, accuracy) of all others that reached that rung.

    It stops when more than half of the networks that cost no more than itself were more accurate at the same rung. The cheap
    end has few such peers and so survives, where a comparison by accuracy alone would end it.
    """
    rivals = [other for cost, other in peers if cost <= MACS_SLACK * macs]
    if len(rivals) < MIN_PEERS:
        return True
    return sum(other > accuracy for other in rivals) <= len(rivals) / 2
