"""A stateful twin of Azure: Resource Manager and the data planes behind it, over TLS, on this machine."""
