"""A stack's settings: their models, the one reader of them, and what they resolve to."""
