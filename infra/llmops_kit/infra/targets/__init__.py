"""Targets of stacks, one folder each, with the same file names."""
