"""Operates a deployed stack on any target, from its outputs only, without pulumi."""
