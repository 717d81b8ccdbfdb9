"""Reads rows from files of the known formats, each with its location in the file."""
