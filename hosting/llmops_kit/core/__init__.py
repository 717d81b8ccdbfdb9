"""Shared by all processes and targets: documents, folder layouts, digests and signatures.

Imports nothing else of the kit, so that every image can include it.
"""
