"""A stack's settings: models, parser and resolution."""
