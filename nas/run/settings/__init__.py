"""What a search's YAML file says, as values."""
