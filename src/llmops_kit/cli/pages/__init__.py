"""Pages of reports: one HTML file each, that needs nothing beside it."""
