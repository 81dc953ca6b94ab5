"""Bitstamp as it was in 2015: a log of Pusher events, orders without a first book; import only."""
