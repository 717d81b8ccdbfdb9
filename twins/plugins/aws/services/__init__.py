"""The types that are more than calls (`class` in kinds.json): one module a service."""
