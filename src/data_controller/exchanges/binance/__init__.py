"""Binance: spot, USD-M and COIN-M futures, by one code; books are changes by stream, spliced to a fetched snapshot."""
