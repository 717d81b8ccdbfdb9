"""Interfaces between the command line and each target's platform: protocols, records and plain values."""
