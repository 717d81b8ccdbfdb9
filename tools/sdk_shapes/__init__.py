"""Properties of Pulumi's resource types, read from its SDKs into the tables of the stand-in plugins."""
