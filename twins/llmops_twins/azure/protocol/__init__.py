"""Calls, ids, kinds, bodies and errors of Azure Resource Manager."""
