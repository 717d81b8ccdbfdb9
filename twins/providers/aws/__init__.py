"""A stand-in for the plugin `aws`, driven by types.json."""
