"""A stand-in for Pulumi's azure-native plugin, for twins only."""
