"""What to train next, and the search that trains it."""
