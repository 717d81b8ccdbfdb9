"""Three wheels of one repository: each room is in one of them, and what they say of each other agrees."""

import tomllib

import pytest

from tests.support.checkout import CHECKOUT, PACKAGES

PROJECTS = {
    folder: tomllib.loads((CHECKOUT / folder / "pyproject.toml").read_text()) for folder in (".", "hosting", "twins")
}


def test_each_room_is_in_one_wheel() -> None:
    included = {
        f"{folder}/{name}"
        for folder, project in PROJECTS.items()
        for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    }
    roots = {folder if folder.name == "llmops_twins" else folder.parent for folder in PACKAGES.values()}
    assert {(CHECKOUT / name).resolve() for name in included} == roots


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
