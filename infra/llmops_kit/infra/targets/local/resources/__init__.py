"""Declares the resources of a stack on this machine; their providers are in llmops_kit.infra.targets.local."""
