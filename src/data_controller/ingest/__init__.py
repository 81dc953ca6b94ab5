"""Sockets of the venues: pushes records into a sink, sends bytes, opens and drops connections as told."""
