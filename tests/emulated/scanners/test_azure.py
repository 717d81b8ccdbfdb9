"""What the program declares on Azure, judged by other people's rules: no finding outside of accepted.toml."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.emulated.scanners.conftest import state_of
from tests.support.clouds.arm_template import logical_names, template_of
from tests.support.clouds.azure_twin import AzureStack
from tests.support.clouds.mutations import CURED_ON_AZURE, CURED_TIERS, WORSE_ON_AZURE, WORSE_TIERS, changed_template
from tests.support.clouds.scanners import accepted_findings, differences, scan


@pytest.fixture(scope="module")
def states(on_azure: dict[str, AzureStack]) -> dict[str, dict[str, Any]]:
    """What the states of both stacks hold."""
    return {which: state_of(stack) for which, stack in on_azure.items()}


@pytest.fixture(scope="module")
def findings(
    states: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[set[str], set[str]]]:
    """What checkov passes and fails: of both stacks, and of the open one made worse and cured, all in one run."""
    folder = tmp_path_factory.mktemp("templates")
    templates = {which: template_of(state) for which, state in states.items()}
    templates["worse"] = changed_template(templates["open"], WORSE_ON_AZURE, WORSE_TIERS)
    templates["cured"] = changed_template(templates["open"], CURED_ON_AZURE, CURED_TIERS)
    for which, template in templates.items():
        (folder / f"{which}.json").write_text(json.dumps(template))
    options = ["--framework", "arm", "--output", "json", "--compact", "--skip-download"]
    report = json.loads(scan("checkov", "--directory", str(folder), *options))
    assert report["summary"]["parsing_errors"] == 0

    def told(which: str, result: str) -> set[str]:
        names = logical_names(states.get(which, states["open"]))
        checks = report["results"][f"{result}_checks"]
        return {
            f"{each['check_id']} {names[each['resource']]}" for each in checks if Path(each["file_path"]).stem == which
        }

    return {which: (told(which, "passed"), told(which, "failed")) for which in templates}


@pytest.mark.scorecard("checkov")
@pytest.mark.parametrize("which", ["open", "private"])
def test_checkov_over_the_program(which: str, findings: dict[str, tuple[set[str], set[str]]]) -> None:
    passed, failed = findings[which]
    assert len(passed) >= {"open": 11, "private": 18}[which]
    assert differences(f"checkov-azure-{which}", failed) == []


@pytest.mark.scorecard("scanner-sensitivity")
def test_checkov_finds_what_is_wrong_on_azure(findings: dict[str, tuple[set[str], set[str]]]) -> None:
    assert findings["worse"][1] - findings["open"][1] == {
        *(f"CKV_AZURE_{number} registry" for number in (137, 138)),
        *(f"CKV_AZURE_{number} {account}" for number in (3, 36, 44) for account in ("storage", "scratch")),
        *(f"CKV_AZURE_34 {container}" for container in ("store", "work", "checkpoints")),
        *(f"CKV_AZURE_{number} vault" for number in (42, 110, 111)),
    }


@pytest.mark.scorecard("scanner-sensitivity")
def test_checkov_is_awake_for_each_accepted_finding_on_azure(findings: dict[str, tuple[set[str], set[str]]]) -> None:
    """It passes a stack that has what ours lacks: so it has looked, and an acceptance hides one thing alone."""
    accepted = accepted_findings("checkov-azure-open")
    assert accepted <= findings["open"][1]
    assert accepted <= findings["cured"][0]
    private = accepted_findings("checkov-azure-private")  # of one account more
    assert {each.split()[0] for each in private} <= {each.split()[0] for each in accepted}


def test_every_resource_is_in_the_template(states: dict[str, dict[str, Any]]) -> None:
    for state in states.values():
        declared = [each for each in state["deployment"]["resources"] if each["type"].startswith("azure-native:")]
        made = template_of(state)["resources"]
        assert len(made) == len(declared) > 40
        assert all(each["type"].count("/") == each["name"].count("/") + 1 for each in made)
