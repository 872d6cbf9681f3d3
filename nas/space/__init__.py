"""What may be built, and what it costs."""
