"""Lines and counts of servers, stored for Azure Monitor."""
