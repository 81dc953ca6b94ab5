"""Bitget, the first protocol of its spot and futures streams: a decoder for import."""
