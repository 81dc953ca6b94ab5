"""Coinbase as it spoke in 2021, for importing: the same protocol as today."""
