"""Judges of permissions."""
