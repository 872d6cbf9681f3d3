"""All verbs together."""

from typing import NoReturn  # noqa: I001 (help lists the verbs in the order of the next imports)

from nas.cli import init, search, report, winners, designs, devices, cache  # noqa: F401 (each adds its verbs)
from nas.cli.app import app, run_reporting


def main() -> NoReturn:
    """Run a verb; what a user can mend is one message and exit code 2."""
    run_reporting(app)
