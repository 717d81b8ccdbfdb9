"""What the program declares on Azure, judged by other people's rules: no finding outside of accepted.toml."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.emulated.scanners.conftest import state_of
from tests.support.arm_template import logical_names, template_of
from tests.support.azure_twin import AzureStack
from tests.support.scanners import differences, scan


@pytest.fixture(scope="module")
def states(on_azure: dict[str, AzureStack]) -> dict[str, dict[str, Any]]:
    """What the states of both stacks hold."""
    return {which: state_of(stack) for which, stack in on_azure.items()}


@pytest.fixture(scope="module")
def findings(
    states: dict[str, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[set[str], set[str]]]:
    """What checkov passes and fails: of both stacks, and of the open one made worse."""
    folder = tmp_path_factory.mktemp("templates")
    templates = {which: template_of(state) for which, state in states.items()}
    templates["wrong"] = made_worse(templates["open"])
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


def made_worse(template: dict[str, Any]) -> dict[str, Any]:
    """A copy with an administrator of the registry, old TLS, and a public container."""
    worse = copy.deepcopy(template)
    for each in worse["resources"]:
        match each["type"]:
            case "Microsoft.ContainerRegistry/registries":
                each["properties"]["adminUserEnabled"] = True
            case "Microsoft.Storage/storageAccounts":
                each["properties"]["minimumTlsVersion"] = "TLS1_0"
            case "Microsoft.Storage/storageAccounts/blobServices/containers":
                each["properties"]["publicAccess"] = "Blob"
    return worse


@pytest.mark.scorecard("checkov")
@pytest.mark.parametrize("which", ["open", "private"])
def test_checkov_over_the_program(which: str, findings: dict[str, tuple[set[str], set[str]]]) -> None:
    passed, failed = findings[which]
    assert len(passed) >= {"open": 11, "private": 18}[which]
    assert differences(f"checkov-azure-{which}", failed) == []


def test_checkov_finds_what_is_wrong_on_azure(findings: dict[str, tuple[set[str], set[str]]]) -> None:
    new = findings["wrong"][1] - findings["open"][1]
    assert new == {"CKV_AZURE_137 registry", "CKV_AZURE_44 storage", "CKV_AZURE_34 store", "CKV_AZURE_34 work"}


def test_every_resource_is_in_the_template(states: dict[str, dict[str, Any]]) -> None:
    for state in states.values():
        declared = [each for each in state["deployment"]["resources"] if each["type"].startswith("azure-native:")]
        made = template_of(state)["resources"]
        assert len(made) == len(declared) > 40
        assert all(each["type"].count("/") == each["name"].count("/") + 1 for each in made)
