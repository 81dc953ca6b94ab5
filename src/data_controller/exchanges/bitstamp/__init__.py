"""Bitstamp: price changes spliced to a fetched book, orders by their event chain, trades."""
