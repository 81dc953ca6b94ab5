"""Instruments, channels, event rows, books, checksums, proof: what a market is, without any venue's dialect."""
