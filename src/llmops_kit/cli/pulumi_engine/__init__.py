"""The Pulumi engine on this machine: found, downloaded or built once, and kept from executing planted state."""
