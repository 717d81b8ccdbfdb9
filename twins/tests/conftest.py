"""What all tests of the twins share: the same as those of the kit."""

from tests.conftest import pytest_collection, pytest_sessionfinish

__all__ = ["pytest_collection", "pytest_sessionfinish"]
