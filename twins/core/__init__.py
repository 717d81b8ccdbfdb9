"""What the twins of all clouds share, without any cloud's words."""
