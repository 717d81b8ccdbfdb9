"""Fetches data from its sources to the caller's machine, with the caller's permissions."""
