"""Data on the caller's machine: fetched from its sources, with the caller's permissions."""
