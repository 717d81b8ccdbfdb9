"""The same recipe, version and image on every target: equal weights by training, equal tokens by each contract."""
