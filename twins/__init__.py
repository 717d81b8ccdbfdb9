"""Stateful local stand-ins for the clouds, and for the Pulumi plugins that talk to them."""
