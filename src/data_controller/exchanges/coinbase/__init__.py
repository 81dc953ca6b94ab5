"""Coinbase Exchange: price levels that nothing proves, single orders proved by the sequence of their product."""
