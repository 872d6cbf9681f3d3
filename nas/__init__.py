"""Neural architecture search over MetaFormer designs."""

__version__ = "0.1.0"
