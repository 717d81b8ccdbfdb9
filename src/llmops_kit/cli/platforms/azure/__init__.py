"""Operates a stack on Azure, or on its twin."""
