"""Endpoints on this machine: images as processes, their supervisor, and the router in front of them.

Imports core only of the kit, and knows nothing of Pulumi or of a cloud, so that the twins can stand on it too.
"""
