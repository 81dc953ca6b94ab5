"""BitMEX's realtime tables: books by level ids, trades, best prices, marks and funding; import only."""
