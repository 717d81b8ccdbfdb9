"""Stateful local emulators of AWS and Azure, and stand-ins for the Pulumi plugins that talk to them."""
