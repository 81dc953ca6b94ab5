"""Bundles, the forward pass and the ladder of tiers: raw feature rows in, per-horizon forecasts out."""
