"""Gemini's market data v2: books, trades; import only."""
