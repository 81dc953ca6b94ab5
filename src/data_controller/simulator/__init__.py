"""An exchange in a process of its own: a second reading of Bitfinex's documents, with faults on command."""
