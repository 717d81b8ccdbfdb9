"""docs/base-models.md says what the table of base models says."""

from tools import base_models


def test_the_page_is_current() -> None:
    assert base_models.FILE.read_text() == base_models.render(), "run `python -m tools.base_models`"
