"""The table of faults: one place in the rehearsal for each kind that the twin has, and the docs say the same."""

from pathlib import Path

import pytest

from contract.errors import KitError
from llmops.rehearsal.acts import STEPS
from llmops.rehearsal.clouds.aws_faults import CASES
from llmops.rehearsal.fault_case import find, table
from twins.aws.faults import KINDS

PAGE = Path(__file__).parents[4] / "docs/how-to/rehearsal.md"


def test_every_kind_of_fault_has_a_place() -> None:
    assert {case.kind for case in CASES} == set(KINDS)
    assert {case.step for case in CASES} <= {step.id for step in STEPS}
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_gives_the_members_of_its_kind(case) -> None:
    members = KINDS[case.kind].members
    assert case.members.keys() <= members.keys()
    assert {name for name, member in members.items() if member.default is None} <= case.members.keys()
    for name, value in case.members.items():
        assert callable(value) or members[name].read(value) == value
    if case.end == "refused":
        assert case.says
        assert case.way_out


def test_the_page_has_the_table() -> None:
    shown = PAGE.read_text().partition("<!-- faults: llmops/rehearsal/faults.py -->\n")[2]
    assert shown.partition("<!-- end of faults -->")[0] == table(CASES)


def test_an_unknown_fault_names_the_others() -> None:
    with pytest.raises(KitError, match="there is no fault flood") as caught:
        find(CASES, "flood")
    assert "throttle" in caught.value.fix


def test_the_page_names_every_step() -> None:
    text = PAGE.read_text()
    assert [step.id for step in STEPS if f"`{step.id}`" not in text] == []


def test_needs_stand_before_what_needs_them() -> None:
    seen: set[str] = set()
    for step in STEPS:
        assert set(step.needs) <= seen
        seen.add(step.id)
