"""What the program declares on Azure, judged by other people's rules: no finding outside of accepted.toml."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.arm_template import logical_names, template_of
from tests.support.azure_twin import LOCATION, AzureStack, Subscription, make_stack, running_twin
from tests.support.scanners import differences, scan

NETWORK = "2024-05-01"
BUDGET = {"monthly_usd": 100, "emails": ["a@example.com"]}


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """A whole stack that is reached from anywhere, and one that is reached from a company's network alone."""
    folder = tmp_path_factory.mktemp("scanned").resolve()
    with running_twin(folder, pace=0.0) as subscription:
        network = {"mode": "existing", "subnet": add_subnet(subscription)}
        settings = {"location": LOCATION, "budget": BUDGET}
        private = make_stack(subscription, folder / "private", "private", azure={**settings, "network": network})
        opened = make_stack(subscription, folder / "open", "open", azure=settings)
        opened.serve("chat", opened.add_version("chatbot@1"), size={"instances": 2, "max_instances": 4})
        opened.up()
        yield {"open": state_of(opened), "private": state_of(private)}


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


def add_subnet(subscription: Subscription) -> str:
    """A company's network; its subnet's id."""
    group = f"/subscriptions/{subscription.info.subscription}/resourceGroups/company"
    network = f"{group}/providers/Microsoft.Network/virtualNetworks/company"
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}
    subnets = [{"name": "doors", "properties": {"addressPrefix": "10.0.0.0/24"}}]
    with subscription.entered():
        client = subscription.arm()
        client.change("PUT", group, "2024-03-01", {"location": LOCATION})
        client.change("PUT", network, NETWORK, {"location": LOCATION, "properties": {**space, "subnets": subnets}})
        client.close()
    return f"{network}/subnets/doors"


def state_of(stack: AzureStack) -> dict[str, Any]:
    """What the stack's state holds."""
    state = stack.state()
    return json.loads(state[state.index("{") :])


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
