"""Readers: from a file in one of the known formats to rows, each with its place in the file."""
