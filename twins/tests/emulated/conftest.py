"""What emulated tests of the twins share."""

from tests.emulated.conftest import warm_programs

__all__ = ["warm_programs"]
