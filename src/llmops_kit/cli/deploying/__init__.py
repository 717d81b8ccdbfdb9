"""Brings a stack to what its file says: promotion, deployment, and the permissions that these need."""
