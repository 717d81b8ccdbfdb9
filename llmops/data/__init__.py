"""Data on the caller's side: fetched from where it lies, with the caller's rights."""
