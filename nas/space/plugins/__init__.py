"""Mixers of one's own: a Python file that a search names, its `MIXERS` as further rows of the table of mixers.

`named` reads such a file, `plugin` is the value that it becomes and its rows, `code` runs it where that has to be, `measuring`
counts its mixers. A run keeps a copy of the file, its hash, its rows and all costs of its space: reading a run runs no plugin.
"""
