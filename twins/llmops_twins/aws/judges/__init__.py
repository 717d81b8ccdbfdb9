"""Judges of permissions and quotas. They check each call before it is carried out."""
