"""Order-flow features: what every event adds, how it is binned, what each feature is and when it may be used."""
