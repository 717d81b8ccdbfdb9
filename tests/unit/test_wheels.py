"""Three wheels of one repository: each room is in one of them, and what they say of each other agrees."""

import tomllib

import pytest

from tests.support.checkout import CHECKOUT
from tests.unit.test_imports import ROOMS

PROJECTS = {
    folder: tomllib.loads((CHECKOUT / folder / "pyproject.toml").read_text()) for folder in (".", "hosting", "twins")
}


def test_each_room_is_in_one_wheel() -> None:
    wheel = PROJECTS["."]["tool"]["hatch"]["build"]["targets"]["wheel"]
    included = PROJECTS["hosting"]["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    beside = [name for name in included.values() if (CHECKOUT / name).is_dir()]
    assert sorted([*wheel["packages"], *beside, "twins"]) == sorted(ROOMS)


@pytest.mark.parametrize("file", ["hosting", "aws-twin", "azure-twin"])
def test_wheels_ask_for_each_others_version(file: str) -> None:
    versions = {project["project"]["version"] for project in PROJECTS.values()}
    (line,) = [
        line for line in (CHECKOUT / f"requirements/wheel/{file}.in").read_text().splitlines() if line[:1] != "#"
    ]
    assert {line.partition("==")[2]} == versions


def test_the_kit_and_the_twin_know_the_same_quota_codes() -> None:
    kit, twin = (
        CHECKOUT / f"{folder}/quota_codes.json"
        for folder in ("src/llmops_kit/cli/platforms/aws", "twins/llmops_twins/aws/judges")
    )
    assert kit.read_bytes() == twin.read_bytes()
