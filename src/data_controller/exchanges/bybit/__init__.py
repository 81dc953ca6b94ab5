"""Bybit: decoder of its fifth WebSocket protocol, requests, config sections, subscriptions."""
