"""The Python interface: `searching` begins a search, `run` is what it comes to, `images` takes arrays and torch's data sets.

The verbs of the command line call the same functions.
"""
