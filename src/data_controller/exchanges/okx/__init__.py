"""OKX: decoder of its fifth WebSocket protocol, requests, config section, subscriptions."""
