"""Runs deployments of endpoints, and jobs, on the twin of Azure."""
