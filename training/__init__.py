"""The training image: folders in, folders out.

Light modules, which the command line imports: rows, collect, prepare, sources. The others need requirements/training.txt.
"""
