"""`python -m nas VERB`: the command line."""

from nas.cli.main import main

main()
