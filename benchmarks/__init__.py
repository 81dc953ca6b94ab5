"""Benchmarks: each module with a `measure() -> dict` is one, run by `make bench`."""
