"""The engines that serve model versions, and their settings."""
