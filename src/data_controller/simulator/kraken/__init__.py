"""Kraken, WebSocket v2: books proved by a CRC-32 of the best ten, orders one by one, and what goes with them."""
