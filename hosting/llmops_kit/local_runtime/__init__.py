"""Endpoints on this machine: images as processes, their supervisor, and the router in front of them.

Imports only core from the kit, and nothing of Pulumi or a cloud, so that the twins can use it too.
"""
