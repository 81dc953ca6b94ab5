"""From forecasts to orders: expected value, risk gate, paper exchange and the Trader that holds them together."""
