"""Scores answers by a judge model, COMET or a user's program."""
