"""OKX v3, as OKCoin spoke it too: decoders for import."""
