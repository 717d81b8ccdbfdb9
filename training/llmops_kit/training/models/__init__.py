"""Forms of a model: import, merge, conversion, manifest, card."""
