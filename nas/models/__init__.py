"""An architecture as a network."""
