"""The router before the workers of an endpoint: balance, relay, rollout."""
