"""JSON schemas that others supply: bounded, checked, and values held against them."""
