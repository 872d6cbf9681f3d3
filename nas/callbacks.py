"""What hears how work goes, where nobody wants to hear it."""


def ignore(*news: object) -> None:
    """Hears of something and lets it go on: the default of every callback."""
