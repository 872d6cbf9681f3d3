"""A network trained at full scale."""
