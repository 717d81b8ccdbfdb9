"""Exports runs and versions to the formats of other tools."""
