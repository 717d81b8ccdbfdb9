"""Untrusted JSON schemas: limits, checks, and validation of values against them."""
