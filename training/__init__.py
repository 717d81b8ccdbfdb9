"""The training image: folders in, folders out.

The command line imports rows, collect and prepare, which are light. The others need requirements/training.txt.
"""
