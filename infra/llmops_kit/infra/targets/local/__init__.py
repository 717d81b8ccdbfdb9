"""The target `local`: folders, processes or containers, and a router, as dynamic resources of Pulumi."""
