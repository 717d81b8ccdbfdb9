"""A stand-in for Pulumi's aws plugin, for twins only."""
