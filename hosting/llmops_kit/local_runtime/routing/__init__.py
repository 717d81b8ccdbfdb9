"""The router in front of an endpoint's workers: balancing, hand-over, relay."""
