"""Exchanges that only ccxt speaks to, in a process of its own: merged books and trades over a loopback WebSocket."""
