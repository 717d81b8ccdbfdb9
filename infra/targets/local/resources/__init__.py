"""Declares the resources of a stack on this machine; their providers are in infra.targets.local."""
