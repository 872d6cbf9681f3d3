"""Who goes on after a rung: a pure rule over what the record holds."""

from collections.abc import Sequence

COST_SLACK = 1.3  # a rival may cost so much more and still count; experiments/searchers says how both were chosen
RATE = 0.5  # of a rung's share of the training: so many may be ahead


def goes_on(cost: float, accuracy: float, rivals: Sequence[tuple[float, float]], *, share: float) -> bool:
    """Whether a trial continues, given the final accuracy foreseen for it and (cost, accuracy) of all others at that rung.

    It is judged within its band, beside those that cost no more than itself or little more, and goes on if none of them
    dominates it, or few: the cheap end has few such rivals and survives, where a comparison by accuracy alone would end it.
    `share` is what the rung costs of the training up to the next one: the cheaper it is to ask another, the stricter the rung.
    """
    band = [other for macs, other in rivals if macs <= COST_SLACK * cost]
    ahead = sum(other > accuracy for other in band)
    return ahead < RATE * share * (len(band) + 1)
