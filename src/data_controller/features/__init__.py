"""Order-flow features: what is counted on every event, how it is binned, what each feature is and when it may be used."""
