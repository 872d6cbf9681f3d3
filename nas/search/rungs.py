"""Who goes on after a rung: a pure rule over what the record holds."""

from collections.abc import Sequence

COST_SLACK = 1.3  # a rival may cost so much more and still count; experiments/searchers says how it was chosen


def goes_on(cost: float, accuracy: float, rivals: Sequence[tuple[float, float]], *, share: float) -> bool:
    """Whether a trial continues, given the final accuracy foreseen for it and (cost, accuracy) of all others at that rung.

    It is judged within its band, beside those that cost no more than itself or little more, and goes on if none of them
    dominates it or fewer than a `share` of them: the cheap end has few such rivals and survives, where a comparison by accuracy
    alone would end it. `share` is what the rung costs of the training up to the next one, so that as much is spent on trying
    as on training (successive halving, arXiv:1810.05934).
    """
    band = [other for macs, other in rivals if macs <= COST_SLACK * cost]
    ahead = sum(other > accuracy for other in band)
    return ahead == 0 or ahead < share * (len(band) + 1)
