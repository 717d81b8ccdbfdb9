"""The training image: folders in, folders out.

The command line imports rows, prepare, scoring and readers, which are light: the library of a format is imported when a
file has it. The others need requirements/training.txt.
"""
