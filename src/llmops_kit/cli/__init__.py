"""The command line: runs, models, promotion, and the life of a stack. On top of every other room."""

__version__ = "0.1.0"
