"""The training image: folders in, folders out.

The command line imports rows, prepare, scoring and readers, which are light: the library of a format is imported only
for a file of that format. The others need requirements/training.txt.
"""
