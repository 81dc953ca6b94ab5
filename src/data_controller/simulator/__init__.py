"""An exchange of its own process that speaks Bitfinex's protocol, with faults on command: a second reading of its documents."""
