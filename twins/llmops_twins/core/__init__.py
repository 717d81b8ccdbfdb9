"""Parts that the twins of all clouds share, independent of any cloud."""
