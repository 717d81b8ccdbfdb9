"""Scores of answers by a judge model, COMET or a program of the user's."""
