"""What servers leave for Azure Monitor: lines and counts."""
