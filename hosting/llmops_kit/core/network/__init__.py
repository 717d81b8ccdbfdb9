"""Servers and their connections: limits, keys, hand-over, unix sockets."""
