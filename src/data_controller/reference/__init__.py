"""What venues say at rest, asked through REST or ccxt: instruments with their terms, and history for the lake."""
