"""Upbit: whole books of 15 levels in every message, trades; import only."""
