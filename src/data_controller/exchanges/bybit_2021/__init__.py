"""Bybit as it spoke in 2021: a decoder for import."""
