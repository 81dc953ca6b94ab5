"""Kraken Spot, WebSocket v2: books proved by checksum, single orders with a token, trades, candles."""
