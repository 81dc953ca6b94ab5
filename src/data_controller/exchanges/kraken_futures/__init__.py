"""Kraken Futures, WebSocket v1, for importing: each feed numbers its messages by product."""
