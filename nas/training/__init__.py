"""A network and images into an accuracy."""
