"""A sweep of a subscription with a stack, with leftovers of it, of a stack that is gone, and with things of others.

And what a plan and a training say of that stack, which is deployed here anyway.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llmops_kit.cli.platforms.sweep import find
from llmops_kit.cli.stacks.project import Project
from llmops_kit.cli.stacks.stack import PulumiStack
from llmops_kit.clouds.azure.names import assignment_name
from llmops_kit.clouds.azure.roles import BUILT_IN
from llmops_kit.core.twins import TWIN_SUBSCRIPTION
from llmops_kit.infra.resource_names import CloudNames
from tests.emulated.cli.conftest import RECIPE
from tests.support.clouds.azure_twin import LOCATION, ArmClient, AzureStack, Subscription, make_stack, running_twin
from tests.support.runs.yes_rows import write_yes_rows

ROOT = f"/subscriptions/{TWIN_SUBSCRIPTION}"
ML, ROLE_API, IDENTITY_API, GROUP_API = "2025-12-01", "2022-04-01", "2023-01-31", "2024-03-01"
NOT_IN_STATE, UNKNOWN = "not in its stack's state", "no stack of this name in this backend"
CONTAINER = CloudNames("llmops", "dev").of("store")
VAULT_WAY = "only then is its name free"


def tags(stack: str, project: str = "llmops") -> dict[str, str]:
    return {"llmops:project": project, "llmops:stack": stack}


@pytest.fixture(scope="module")
def subscription(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subscription]:
    with running_twin(tmp_path_factory.mktemp("sweep").resolve(), pace=0.02) as made:
        yield made


@pytest.fixture(scope="module")
def stack(subscription: Subscription, tmp_path_factory: pytest.TempPathFactory) -> AzureStack:
    """A deployed stack with an endpoint; it is expired."""
    folder = tmp_path_factory.mktemp("project") / "p"
    made = make_stack(
        subscription,
        folder,
        "dev",
        expires="2026-01-01",
        azure={"location": LOCATION, "budget": {"monthly_usd": 5, "emails": ["a@example.com"]}},
    )
    made.serve("chatbot", made.add_version("chatbot@1"))
    made.up()
    return made


@pytest.fixture
def arm(subscription: Subscription) -> Iterator[ArmClient]:
    with subscription.entered():
        client = subscription.arm()
        yield client
        client.close()


def swept(stack: AzureStack, *of: str) -> dict[str, Any]:
    """What a sweep finds, in this process: (kind, name) -> row, and the expired stacks."""
    with stack.twin.entered():
        found = find(PulumiStack(Project(stack.folder), stack.name), of=of)
    left = {(each.thing.kind, each.thing.name): each.row for each in found.left}
    return {"left": left, "expired": [each.row for each in found.expired]}


def inventory(arm: ArmClient) -> set[str]:
    """Ids of what a subscription's lists have."""
    listed = arm.send("GET", "{sub}/resources", "2021-04-01").json()["value"]
    groups = arm.send("GET", "{sub}/resourcegroups", GROUP_API).json()["value"]
    return {each["id"].lower() for each in [*listed, *groups]}


def test_the_plan_prices_a_stack(stack: AzureStack) -> None:
    lines = {line["what"]: line for line in json.loads(stack.llmops("plan", "--json"))["costs"]}
    endpoint = next(line for what, line in lines.items() if what.startswith("endpoint chatbot"))
    assert (endpoint["idle"], endpoint["busy"]) == (0.272, 0.272)
    assert endpoint["source"] == "Azure retail prices, by github.com/Azure/karpenter-provider-azure, 2023-12-18"
    assert lines["container registry (Basic)"]["idle"] == pytest.approx(0.167 / 24)
    assert any(what.endswith("query alerts") and line["idle"] for what, line in lines.items())


def test_the_role_of_a_stacks_users_is_printed(stack: AzureStack) -> None:
    role = json.loads(stack.llmops("plan", "--policy", "--use"))
    (group,) = role["AssignableScopes"]
    assert group.rpartition("/")[0].endswith("/resourceGroups")
    assert role["Actions"]
    assert not [action for action in (*role["Actions"], *role["DataActions"]) if "*" in action]


def test_a_training_on_machines_that_no_cluster_has_is_refused_before_the_dataset_is_made(stack: AzureStack) -> None:
    """The command line asks the stack first; `test_training.py` needs one that runs containers."""
    (stack.folder / "recipe.yaml").write_text(RECIPE.replace("tiny@1", "chatbot@1"))
    write_yes_rows(stack.folder)
    text = stack.llmops("train", "recipe.yaml", "--instance-type", "Standard_NC6s_v3", code=1)
    assert "no cluster of the stack has Standard_NC6s_v3, dedicated machines" in text
    assert "azure.computes" in text
    assert "dataset" not in text


@pytest.mark.long
def test_of_a_stack_and_its_state_nothing_is_left(stack: AzureStack) -> None:
    found = swept(stack)
    assert found["left"] == {}
    assert [(e["stack"], e["expired"]) for e in found["expired"]] == [("dev", "2026-01-01T00:00:00+00:00")]
    assert found["expired"][0]["usd_month"] >= 0.272 * 730
    assert "takes it down" in stack.llmops("down", "--orphans")


def test_leftovers_are_found_and_removed_in_order(stack: AzureStack, arm: ArmClient) -> None:
    before = inventory(arm)
    theirs = _things_of_others(arm)
    assignment = _killed_update(stack, arm)
    workspace = stack.outputs()["azure"]["workspace"]
    assert {k: row["why"] for k, row in swept(stack)["left"].items()} == {
        ("endpoint", f"{workspace}/half-endpoint"): NOT_IN_STATE,
        ("deployment", f"{workspace}/half-endpoint/half"): NOT_IN_STATE,
        ("cluster", f"{workspace}/half"): NOT_IN_STATE,
        ("model version", f"{workspace}/half/1"): NOT_IN_STATE,
        ("action group", "half"): NOT_IN_STATE,
        ("container", f"llmopsgiven/default/{CONTAINER}"): NOT_IN_STATE,
        ("identity", "half"): NOT_IN_STATE,
        ("role assignment", assignment.rpartition("/")[2]): NOT_IN_STATE,
        (
            "Microsoft.Network/networkSecurityGroups",
            "half",
        ): f"{NOT_IN_STATE}; not a kind of resource that the kit creates",
    }
    row = swept(stack)["left"]["deployment", f"{workspace}/half-endpoint/half"]
    assert row["usd_month"] == pytest.approx(0.272 * 730)
    assert "standard input is not a terminal" in stack.llmops("down", "--orphans", "--remove", code=1)
    stack.llmops("down", "--orphans", "--remove", "--yes", "--of", "dev", "--stack", "dev")  # an expired stack goes too
    left = inventory(arm)
    assert {id_.rpartition("/")[2] for id_ in left - before - theirs} == {"half"}, "what is no kind of the kit's stays"
    assert theirs <= left
    kept = {"storageaccounts", "vaults", "registries", "workspaces", "components"}
    assert kept <= {id_.split("/")[-2] for id_ in before & left}
    assert not any("onlineendpoints" in id_ for id_ in left)
    assert arm.send("GET", assignment, ROLE_API).status_code == 404
    assert swept(stack)["expired"] == [], "its data alone is left"
    stack.settings["expires"] = "2999-01-01"
    stack.up()
    container = swept(stack)["left"].pop(("container", f"llmopsgiven/default/{CONTAINER}"))
    assert container["data"], "as it is data, it stays unless its stack is named"
    assert swept(stack)["left"].keys() == {
        ("container", f"llmopsgiven/default/{CONTAINER}"),
        ("Microsoft.Network/networkSecurityGroups", "half"),
    }
    assert swept(stack)["expired"] == []


def test_what_an_endpoint_sends_requests_to_stays(stack: AzureStack, arm: ArmClient) -> None:
    """As after a rollback that the state knows nothing of, or a change by hand."""
    azure = stack.outputs()["azure"]
    endpoint = f"{_workspace(stack)}/onlineEndpoints/{azure['endpoints']['chatbot']}"
    deployment = _copy_deployment(stack, arm, endpoint, "by-hand")
    live = arm.send("GET", endpoint, ML).json()
    first = next(iter(live["properties"]["traffic"]))
    _shift(arm, live, {first: 90, "by-hand": 10})
    name = deployment.partition("/workspaces/")[2].replace("/onlineEndpoints/", "/").replace("/deployments/", "/")
    why = swept(stack)["left"]["deployment", name]["why"]
    assert why == f"{NOT_IN_STATE}; onlineEndpoints/{azure['endpoints']['chatbot']} uses it"
    _shift(arm, live, {first: 100})
    assert swept(stack)["left"]["deployment", name]["why"] == NOT_IN_STATE
    stack.llmops("down", "--orphans", "--remove", "--yes")
    assert arm.send("GET", deployment, ML).status_code == 404


@pytest.mark.long
def test_things_of_a_stack_that_no_backend_knows(stack: AzureStack, arm: ArmClient) -> None:
    """They may be another backend's: they go when their stack is named, and data when it is named as data."""
    stack.settings["expires"] = "2999-01-01"  # else the stack itself goes, when it runs alone
    stack.up()
    before = inventory(arm)
    _lost_stack(arm)
    data = {("resource group", "old"), ("vault", "llmops-old-vault"), ("storage account", "llmopsold")}
    found = swept(stack, "old")["left"]
    assert found.keys() == {*data, ("identity", "old"), ("budget", CloudNames("llmops", "old").of("budget"))}
    assert {row["why"] for row in found.values()} == {UNKNOWN}
    stack.llmops("down", "--orphans", "--remove", "--yes")
    assert swept(stack, "old")["left"].keys() == found.keys()
    stack.llmops("down", "--orphans", "--remove", "--yes", "--of", "old")
    assert swept(stack, "old")["left"].keys() == data
    stack.llmops("down", "--orphans", "--remove", "--yes", "--data", "old")
    assert inventory(arm) == before
    (row,) = swept(stack, "old")["left"].values()
    assert (row["kind"], row["usd_month"]) == ("deleted vault", 0.0)
    assert row["keep"].endswith(VAULT_WAY)


def test_all_that_is_left_of_a_lost_state(stack: AzureStack, arm: ArmClient) -> None:
    """Last: with an endpoint, what it is made of, and a workspace."""
    group = f"{ROOT}/resourceGroups/{stack.outputs()['azure']['resource_group']}".lower()
    arm.change("DELETE", f"{group}/providers/Microsoft.Network/networkSecurityGroups/half", "2024-05-01")
    stack.pulumi("stack", "rm", "--force", "--yes", "--preserve-config")
    assigned = arm.send("GET", f"{group}/providers/Microsoft.Authorization/roleAssignments", ROLE_API).json()["value"]
    made = {each["name"] for each in assigned if each["properties"]["scope"].lower().startswith(group)}
    found = swept(stack, "dev")["left"]
    assert {name for kind, name in found if kind == "role assignment"} == made, "each is known by its name"
    assert len(made) > 5
    assert ("budget", CloudNames("llmops", "dev").of("budget")) in found
    stack.llmops("down", "--orphans", "--remove", "--yes", "--data", "dev")
    assert {id_ for id_ in inventory(arm) if id_.startswith(group)} == set()
    assert {kind for kind, _ in swept(stack, "dev")["left"]} == {"deleted vault"}
    account = f"{ROOT}/resourceGroups/others/providers/Microsoft.Storage/storageAccounts/llmopsgiven"
    containers = arm.send("GET", f"{account}/blobServices/default/containers", "2024-01-01").json()["value"]
    assert [container["name"] for container in containers] == ["somebodys"]


@pytest.mark.long("tests/emulated/cli/aws/test_sweep.py::test_a_local_stack_has_no_account")
def test_a_local_stack_has_no_subscription(stack: AzureStack) -> None:
    (Path(stack.folder) / "Pulumi.here.yaml").write_text("config:\n  llmops:target: local\n")
    assert "has no account to search for orphans" in stack.llmops("down", "--orphans", "--stack", "here", code=1)


def _workspace(stack: AzureStack) -> str:
    azure = stack.outputs()["azure"]
    group = f"{ROOT}/resourceGroups/{azure['resource_group']}"
    return f"{group}/providers/Microsoft.MachineLearningServices/workspaces/{azure['workspace']}"


def _things_of_others(arm: ArmClient) -> set[str]:
    """Without tags, and with another project's."""
    group = f"{ROOT}/resourceGroups/others"
    arm.change("PUT", group, GROUP_API, {"location": LOCATION})
    identities = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    for name, given in (("llmops-dev-looks-like-ours", {}), ("other", tags("dev", project="other"))):
        arm.change("PUT", f"{identities}/{name}", IDENTITY_API, {"location": LOCATION, "tags": given})
    account = f"{group}/providers/Microsoft.Storage/storageAccounts/llmopsgiven"
    body = {"location": LOCATION, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
    arm.change("PUT", account, "2024-01-01", body)
    for name in ("somebodys", CONTAINER):  # the second as if the account was given to the stack
        path = f"{account}/blobServices/default/containers/{name}"
        arm.change("PUT", path, "2024-01-01", {"properties": {}})
    theirs = (group, account, f"{identities}/llmops-dev-looks-like-ours", f"{identities}/other")
    return {id_.lower() for id_ in theirs}


def _killed_update(stack: AzureStack, arm: ArmClient) -> str:
    """What an `up` leaves that was killed between Azure's answer and its own note.

    Returns:
        Id of a role assignment whose identity is gone, too.
    """
    workspace, azure = _workspace(stack), stack.outputs()["azure"]
    group = workspace.partition("/providers/")[0]
    ours: dict[str, Any] = {"location": LOCATION, "tags": tags("dev")}
    endpoint = f"{workspace}/onlineEndpoints/half-endpoint"
    live = arm.send("GET", f"{workspace}/onlineEndpoints/{azure['endpoints']['chatbot']}", ML).json()
    identity = {"type": "UserAssigned", "userAssignedIdentities": {i: {} for i in _identities(live)}}
    arm.change("PUT", endpoint, ML, {**ours, "identity": identity, "properties": {"authMode": "AADToken"}})
    _copy_deployment(stack, arm, endpoint, "half")
    _shift(arm, arm.send("GET", endpoint, ML).json(), {"half": 100})
    cluster = {"vmSize": "Standard_DS3_v2", "scaleSettings": {"minNodeCount": 0, "maxNodeCount": 1}}
    arm.change(
        "PUT", f"{workspace}/computes/half", ML,
        {**ours, "identity": identity, "properties": {"computeType": "AmlCompute", "properties": cluster}},
    )  # fmt: skip
    models = arm.send("GET", f"{workspace}/models", ML).json()["value"]
    version = arm.send("GET", f"{models[0]['id']}/versions", ML).json()["value"][0]["properties"]
    model = {name: version[name] for name in ("modelType", "modelUri")}
    arm.change("PUT", f"{workspace}/models/half/versions/1", ML, {"properties": {**model, "tags": tags("dev")}})
    arm.change(
        "PUT", f"{group}/providers/Microsoft.Insights/actionGroups/half", "2024-10-01-preview",
        {"location": "global", "tags": tags("dev"), "properties": {"groupShortName": "half", "enabled": True}},
    )  # fmt: skip
    arm.change("PUT", f"{group}/providers/Microsoft.Network/networkSecurityGroups/half", "2024-05-01", ours)
    identities = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
    arm.change("PUT", f"{identities}/half", IDENTITY_API, ours)
    gone = arm.change("PUT", f"{identities}/gone", IDENTITY_API, ours)["properties"]["principalId"]
    definition = f"{ROOT}/providers/Microsoft.Authorization/roleDefinitions/{BUILT_IN['AcrPull']}"
    name = assignment_name("llmops", "dev", TWIN_SUBSCRIPTION, "endpoint", "AcrPull", group)
    id_ = f"{group}/providers/Microsoft.Authorization/roleAssignments/{name}"
    properties = {"roleDefinitionId": definition, "principalId": gone, "principalType": "ServicePrincipal"}
    arm.change("PUT", id_, ROLE_API, {"properties": properties})
    arm.change("DELETE", f"{identities}/gone", IDENTITY_API)
    return id_


def _identities(endpoint: dict[str, Any]) -> list[str]:
    return list(endpoint["identity"]["userAssignedIdentities"])


def _copy_deployment(stack: AzureStack, arm: ArmClient, endpoint: str, name: str) -> str:
    azure = stack.outputs()["azure"]
    own = f"{_workspace(stack)}/onlineEndpoints/{azure['endpoints']['chatbot']}/deployments"
    live = arm.send("GET", own, ML).json()["value"][0]
    wanted = (
        *("endpointComputeType", "model", "environmentId", "environmentVariables", "instanceType", "modelMountPath"),
        *("livenessProbe", "readinessProbe", "requestSettings", "scaleSettings"),
    )
    properties = {key: live["properties"][key] for key in wanted if live["properties"].get(key)}
    sku = {"name": "Default", "capacity": 1}
    body = {"location": LOCATION, "tags": tags("dev"), "sku": sku, "properties": properties}
    arm.change("PUT", f"{endpoint}/deployments/{name}", ML, body)
    return f"{endpoint}/deployments/{name}"


def _shift(arm: ArmClient, endpoint: dict[str, Any], traffic: dict[str, int]) -> None:
    identity = {"type": "UserAssigned", "userAssignedIdentities": {i: {} for i in _identities(endpoint)}}
    properties = {"authMode": endpoint["properties"]["authMode"], "traffic": traffic}
    body = {"location": LOCATION, "tags": endpoint["tags"], "identity": identity, "properties": properties}
    arm.change("PUT", endpoint["id"], ML, body)


def _lost_stack(arm: ArmClient) -> None:
    group = f"{ROOT}/resourceGroups/old"
    ours: dict[str, Any] = {"location": LOCATION, "tags": tags("old")}
    arm.change("PUT", group, GROUP_API, ours)
    arm.change("PUT", f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/old", IDENTITY_API, ours)
    account = {**ours, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2", "properties": {}}
    arm.change("PUT", f"{group}/providers/Microsoft.Storage/storageAccounts/llmopsold", "2024-01-01", account)
    tenant = arm.send("GET", "/tenants", "2022-12-01").json()["value"][0]["tenantId"]
    vault = {"tenantId": tenant, "sku": {"family": "A", "name": "standard"}, "enableRbacAuthorization": True}
    body = {**ours, "properties": {**vault, "enablePurgeProtection": True}}
    arm.change("PUT", f"{group}/providers/Microsoft.KeyVault/vaults/llmops-old-vault", "2024-11-01", body)
    budget = {
        "category": "Cost",
        "amount": 1,
        "timeGrain": "Monthly",
        "timePeriod": {"startDate": "2026-11-01T00:00:00Z"},
    }
    name = CloudNames("llmops", "old").of("budget")
    arm.change("PUT", f"{group}/providers/Microsoft.Consumption/budgets/{name}", "2024-08-01", {"properties": budget})
