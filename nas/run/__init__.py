"""A run on disk: its settings, its folder, its record, and who writes it."""
