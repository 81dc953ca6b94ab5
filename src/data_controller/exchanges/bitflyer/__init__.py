"""bitFlyer: board changes between whole boards that its stream repeats, executions, tickers."""
