"""Rows and conversations, and the tokens that training makes of them."""
