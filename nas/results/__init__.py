"""Trials and fronts as pandas tables and statistics; nothing here draws or prints."""
