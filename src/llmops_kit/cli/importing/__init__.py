"""Base models from elsewhere: looked at, checked and imported into a store."""
