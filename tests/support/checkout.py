"""Folders of this checkout."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLES = CHECKOUT / "tests/unit/contract/examples"
"""One document of each kind and released version."""
