"""The training image: folders in, folders out.

The command line imports rows, collect, prepare and readers, which are light. A format's library comes with the extra data;
the other modules need requirements/training.txt.
"""
