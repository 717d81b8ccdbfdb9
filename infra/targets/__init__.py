"""Where a stack may live; one folder each, with the same file names."""
