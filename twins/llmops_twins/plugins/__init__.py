"""Stand-ins for provider plugins where the real ones are not installed."""
