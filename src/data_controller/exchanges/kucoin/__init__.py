"""KuCoin, its spot streams: a decoder for import."""
