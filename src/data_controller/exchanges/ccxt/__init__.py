"""Any exchange through ccxt, behind the bridge: books are merged by ccxt, not raw, and nothing can prove them."""
