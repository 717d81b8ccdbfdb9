"""A stateful twin of Azure: Resource Manager and its data planes, over TLS, on this machine."""
