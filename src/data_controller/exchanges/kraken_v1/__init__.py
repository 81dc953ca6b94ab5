"""Kraken Spot, WebSocket v1, for importing: frames are lists that end in the name of their stream."""
