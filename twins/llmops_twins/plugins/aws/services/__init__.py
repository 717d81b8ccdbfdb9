"""Types that need more than declared calls (`class` in kinds.json), one module per service."""
