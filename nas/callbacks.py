"""The default of callbacks: nothing is done with what they hear."""


def ignore(*news: object) -> None:
    """Do nothing, and let the work go on."""
