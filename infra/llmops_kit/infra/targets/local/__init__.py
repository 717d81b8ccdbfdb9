"""A stack on this machine: folders, processes or containers, and a router, as dynamic resources of Pulumi."""
