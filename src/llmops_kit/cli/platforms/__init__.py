"""Operate a deployed stack, wherever it lives: made from its outputs alone, without pulumi."""
