"""Preparation: from collected files to a dataset version.

It stands on contract and on the light modules of training that define rows. `python -m preparation` runs in an image of
its own; a recipe that sets nothing of `data.prepare` needs none: its rows are prepared in the caller's process.
"""
