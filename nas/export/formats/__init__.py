"""An exported network in other formats, a file a format; the table of all is `table.py`."""
