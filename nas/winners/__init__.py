"""A network picked out of a run, and what one asks of it."""
