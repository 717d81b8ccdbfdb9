"""The tables of faults: one place in the rehearsal for each kind that a twin has, and the docs say the same."""

import pytest

from llmops_kit.cli.rehearsal.fault_case import FaultCase, cases_of, find, table
from llmops_kit.cli.rehearsal.lifecycle import STEPS
from llmops_kit.core.errors import NotFoundError
from llmops_twins.aws.faults import KINDS as AWS
from llmops_twins.azure.faults import KINDS as AZURE
from llmops_twins.core.faults import Kind
from tests.support.checkout import CHECKOUT

PAGE = CHECKOUT / "docs/how-to/rehearsal.md"
CLOUDS = {"aws": (cases_of("aws"), AWS), "azure": (cases_of("azure"), AZURE)}


@pytest.mark.parametrize("cloud", CLOUDS)
def test_every_kind_of_fault_has_a_place(cloud: str) -> None:
    cases, kinds = CLOUDS[cloud]
    assert {case.name for case in cases} == set(kinds)
    assert {case.step for case in cases} <= {step.id for step in STEPS}
    assert len({case.name for case in cases}) == len(cases)


@pytest.mark.parametrize(
    ("case", "kinds"),
    [
        pytest.param(case, kinds, id=f"{cloud}-{case.name}")
        for cloud, (cases, kinds) in CLOUDS.items()
        for case in cases
    ],
)
def test_a_case_gives_the_members_of_its_kind(case: FaultCase, kinds: dict[str, Kind]) -> None:
    members = kinds[case.name].members
    assert case.members.keys() <= members.keys()
    assert {name for name, member in members.items() if member.default is None} <= case.members.keys()
    for name, value in case.members.items():
        assert callable(value) or members[name].read(value) == value
    if case.end == "refused":
        assert case.says
        assert case.fix


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_page_has_the_table(cloud: str) -> None:
    shown = PAGE.read_text().partition(f"<!-- faults: {cloud} -->\n")[2]
    assert shown.partition("<!-- end of faults -->")[0] == table(CLOUDS[cloud][0])


def test_an_unknown_fault_names_the_others() -> None:
    with pytest.raises(NotFoundError) as caught:
        find(cases_of("aws"), "flood")
    assert caught.value.where == "--fault"
    assert "throttle" in caught.value.fix


def test_the_page_names_every_step() -> None:
    text = PAGE.read_text()
    assert [step.id for step in STEPS if f"`{step.id}`" not in text] == []


def test_needs_stand_before_what_needs_them() -> None:
    seen: set[str] = set()
    for step in STEPS:
        assert set(step.needs) <= seen
        seen.add(step.id)
