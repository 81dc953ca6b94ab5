"""Bitfinex over REST: public data, and an account that trades on the simulated market."""
