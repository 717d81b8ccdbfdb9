"""Validation of parameters by botocore's models: required members and types, then enum, length, pattern and range."""

from twins.aws.reading import Reading


def check(read: Reading) -> None:
    """Raise unless the parameters keep the model's constraints."""
