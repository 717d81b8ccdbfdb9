"""What the command line asks of each target's platform: protocols, records and plain values."""
