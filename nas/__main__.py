"""`python -m nas VERB`: the command line."""

from nas.cli import main

main()
