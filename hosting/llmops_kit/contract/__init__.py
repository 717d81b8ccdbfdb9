"""What crosses a process or a cloud: documents, folder layouts, digests and signatures.

Imports nothing else of the kit, so that every image and every target can carry it.
"""
