"""A network into an accuracy."""
