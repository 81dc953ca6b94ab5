"""Drivers: who answers the pipeline live, in the demo, in replay and in verify."""
