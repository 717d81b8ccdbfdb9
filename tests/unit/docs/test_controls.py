"""docs/controls.md: each row says which test shows it, by a name that exists, or why it is not met."""

import re

import pytest

from tests.support.checkout import CHECKOUT

PAGE = CHECKOUT / "docs" / "controls.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| control")
]
LINK = re.compile(r"\[(\w+)\]\(([^)]+)\)")


def test_no_table_is_missed() -> None:
    assert len(ROWS) > 60
    assert {len(row) for row in ROWS} == {4}


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_names_tests_that_exist_or_the_reason(row: list[str]) -> None:
    control, met, tests, reason = row
    for name, path in LINK.findall(tests):
        assert f"def test_{name}(" in (PAGE.parent / path).resolve().read_text(), (control, name)
    assert bool(met) or bool(reason), control
    assert not tests or met, f"{control}: what is tested is met by something"
    assert tests or reason, f"{control}: what is met is shown by a test"
