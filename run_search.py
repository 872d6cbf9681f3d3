"""Search a space: `python run_search.py search_spaces/hybrid.yaml`; the same as `nas search`."""

import typer

from nas.cli.app import run_reporting
from nas.cli.search import search

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
app.command()(search)

if __name__ == "__main__":
    run_reporting(app)
