"""The monitor process: metrics, health and alerts from the engine's feed, which it outlives."""
