"""Bitfinex, WebSocket protocol v2."""
