"""A trading engine whose every decision can be recomputed from what it received."""

__version__ = "0.1.0"
