"""Binance, spot and USD-M futures: diff depth spliced with a REST snapshot, trades, marks, limits by weight."""
