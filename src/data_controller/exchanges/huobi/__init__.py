"""Huobi (HTX), its spot streams: a decoder for import."""
