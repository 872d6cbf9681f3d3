"""Settings: texts as plain data, plain data as checked values, mappings laid over one another."""
