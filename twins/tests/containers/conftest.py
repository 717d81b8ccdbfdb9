"""Images in Docker for the tests of the twins: the kit's own."""

from tests.containers.conftest import base, built

__all__ = ["base", "built"]
