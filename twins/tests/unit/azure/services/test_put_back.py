"""What a GET shows of any kind can be put again: Azure passes over what is its own."""

import uuid
from pathlib import Path
from typing import Any

import pytest

from llmops_twins.azure.entra import principals
from llmops_twins.azure.monitor.services.insights_bodies import DIAGNOSTICS
from llmops_twins.azure.protocol.ids import Id
from llmops_twins.azure.services.network import ZONES
from tests.support.clouds.azure import Arm, local_twin
from twins.tests.unit.azure.monitor.services import test_monitor as monitor

PLACE = {"location": "westeurope"}
GLOBAL = {"location": "global"}
OTHERS = ("Microsoft.MachineLearningServices/", "Microsoft.KeyVault/locations/", "Microsoft.Resources/subscriptions")


@pytest.fixture
def arm(tmp_path: Path) -> Arm:
    return Arm(local_twin(tmp_path))


def made(arm: Arm, path: str, body: dict[str, Any]) -> str:
    kind = arm.twin.kinds[Id.parse(path).type.lower()]
    answer = arm.put(path, kind.versions[0], body)
    assert answer.status in (200, 201, 202), answer
    arm.pass_time()
    return path


def everything(arm: Arm) -> list[str]:
    """One of every kind, with what is optional where the twin does something with it."""
    providers = f"{arm.group()}/providers"
    found = [arm.group()]

    def make(path: str, body: dict[str, Any]) -> str:
        found.append(made(arm, path if path.startswith("/") else f"{providers}/{path}", body))
        return found[-1]

    make_networks(make)
    account = {**PLACE, "sku": {"name": "Standard_LRS"}, "kind": "StorageV2"}
    account_id = make("Microsoft.Storage/storageAccounts/kitdata", account)
    make(f"{account_id}/blobServices/default", {"properties": {"deleteRetentionPolicy": {"enabled": True, "days": 7}}})
    make(f"{account_id}/blobServices/default/containers/store", {"properties": {"metadata": {"a": "b"}}})
    actions = {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 30}}}
    rule = {"name": "old", "type": "Lifecycle", "definition": {"actions": actions}}
    make(f"{account_id}/managementPolicies/default", {"properties": {"policy": {"rules": [rule]}}})
    properties = {"tenantId": arm.twin.tenant, "sku": {"family": "A", "name": "standard"}, "accessPolicies": []}
    vault = make("Microsoft.KeyVault/vaults/kit-vault", {**PLACE, "properties": properties})
    made(
        arm,
        f"{vault}/keys/signing",
        {"properties": {"kty": "EC", "attributes": {"enabled": True, "exp": 9_000_000_000}}},
    )
    found.append(f"{vault}/keys/signing")
    make(f"{vault}/secrets/token", {"properties": {"value": "hidden", "attributes": {"exp": 9_000_000_000}}})
    make("Microsoft.ContainerRegistry/registries/kitimages", {**PLACE, "sku": {"name": "Premium"}})
    identity = make("Microsoft.ManagedIdentity/userAssignedIdentities/kit", PLACE)
    trust = {"issuer": "https://issuer", "subject": "one", "audiences": ["api"]}
    make(f"{identity}/federatedIdentityCredentials/one", {"properties": trust})
    make_roles(arm, make)
    make_alerts(arm, make)
    return found


def make_networks(make: Any) -> None:
    group = make("Microsoft.Network/networkSecurityGroups/rules", PLACE)
    subnet = {"addressPrefix": "10.0.0.0/24", "networkSecurityGroup": {"id": group}}
    network = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [{"name": "one", "properties": subnet}]}
    net = make("Microsoft.Network/virtualNetworks/net", {**PLACE, "properties": network})
    make(f"{net}/subnets/two", {"properties": {"addressPrefix": "10.0.1.0/24"}})
    connection = {"name": "c", "properties": {"privateLinkServiceId": net, "groupIds": ["x"]}}
    door = {"subnet": {"id": f"{net}/subnets/one"}, "privateLinkServiceConnections": [connection]}
    endpoint = make("Microsoft.Network/privateEndpoints/door", {**PLACE, "properties": door})
    zone = make(f"{ZONES}/kit.example.com", GLOBAL)
    make(f"{zone}/virtualNetworkLinks/one", {**GLOBAL, "properties": {"virtualNetwork": {"id": net}}})
    configs = [{"name": "one", "properties": {"privateDnsZoneId": zone}}]
    make(f"{endpoint}/privateDnsZoneGroups/default", {"properties": {"privateDnsZoneConfigs": configs}})


def make_roles(arm: Arm, make: Any) -> None:
    reader = principals.add(arm.twin, "job", "identity").object_id
    permissions = [{"actions": ["Microsoft.Storage/storageAccounts/read"]}]
    role = {"roleName": "Looker", "assignableScopes": [arm.group()], "permissions": permissions}
    definition = make(f"Microsoft.Authorization/roleDefinitions/{uuid.uuid4()}", {"properties": role})
    assignment = {"principalId": reader, "roleDefinitionId": definition, "description": "why"}
    make(f"Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", {"properties": assignment})


def make_alerts(arm: Arm, make: Any) -> None:
    logs = make("Microsoft.OperationalInsights/workspaces/logs", {**PLACE, "properties": {"retentionInDays": 30}})
    component = {"Application_Type": "web", "WorkspaceResourceId": logs}
    make("Microsoft.Insights/components/kit", {**PLACE, "kind": "web", "properties": component})
    receivers = [{"name": "team", "emailAddress": "a@example.com"}]
    make("Microsoft.Insights/actionGroups/kit", monitor.action_group(emailReceivers=receivers))
    make("Microsoft.Insights/metricAlerts/errors", monitor.metric_alert(arm))
    make("Microsoft.Insights/scheduledQueryRules/quality", query_rule(logs))
    make("Microsoft.Insights/autoscaleSettings/scale", monitor.autoscale(arm))
    lines = {"workspaceId": logs, "logs": [{"categoryGroup": "allLogs", "enabled": True}]}
    make(f"{logs}/providers/{DIAGNOSTICS.type}/kit", {"properties": lines})
    told = {"enabled": True, "operator": "GreaterThan", "threshold": 80, "contactEmails": ["a@example.com"]}
    period = {"startDate": "2026-01-01T00:00:00Z"}
    budget = {"category": "Cost", "amount": 10, "timeGrain": "Monthly", "timePeriod": period}
    for namespace in ("Consumption", "CostManagement"):
        properties = {**budget, "notifications": {"most": told}}
        make(f"Microsoft.{namespace}/budgets/kit", {"properties": properties})


def query_rule(logs: str) -> dict[str, Any]:
    periods = {"numberOfEvaluationPeriods": 1, "minFailingPeriodsToAlert": 1}
    criterion = {"query": "traces", "timeAggregation": "Count", "operator": "GreaterThan", "threshold": 0}
    properties: dict[str, Any] = {
        "severity": 2,
        "scopes": [logs],
        "evaluationFrequency": "PT5M",
        "windowSize": "PT15M",
        "criteria": {"allOf": [{**criterion, "failingPeriods": periods}]},
    }
    return {**PLACE, "properties": properties}


def members(arm: Arm, path: str) -> tuple[set[str], set[str]]:
    """The names that a GET shows, of the document and of its properties."""
    shown = arm.get(path, arm.twin.kinds[Id.parse(path).type.lower()].versions[0]).body
    return {*shown} - {"etag", "eTag"}, {*shown.get("properties", {})}


def test_every_kind_can_be_put_as_it_is_shown(arm: Arm) -> None:
    paths = everything(arm)
    kinds = {each.type for each in arm.twin.kinds.values() if each.put and not each.type.startswith(OTHERS)}
    assert {arm.twin.kinds[Id.parse(path).type.lower()].type for path in paths} == kinds
    for path in paths:
        kind, before = arm.twin.kinds[Id.parse(path).type.lower()], members(arm, path)
        answer = arm.put(path, kind.versions[0], arm.get(path, kind.versions[0]).body)
        assert answer.status == kind.codes[1], (path, answer)
        arm.pass_time()
        assert members(arm, path) == before, path


def test_a_patch_of_tags_leaves_all_else(arm: Arm) -> None:
    for path in everything(arm):
        kind, before = arm.twin.kinds[Id.parse(path).type.lower()], members(arm, path)
        if kind.patch and kind.location:
            answer = arm.call("PATCH", path, kind.versions[0], {"tags": {"team": "one"}})
            assert answer.status == kind.codes[1], (path, answer)
            arm.pass_time()
            assert members(arm, path) == (before[0] | {"tags"}, before[1]), path
            assert arm.get(path, kind.versions[0]).body["tags"] == {"team": "one"}


def test_kinds_without_a_patch_in_the_specification_refuse_it(arm: Arm) -> None:
    types = {
        *("Microsoft.Network/virtualNetworks/subnets", "Microsoft.Network/privateEndpoints"),
        *("Microsoft.Network/privateEndpoints/privateDnsZoneGroups", "Microsoft.Storage/storageAccounts/blobServices"),
        *("Microsoft.Storage/storageAccounts/managementPolicies", "Microsoft.Authorization/roleAssignments"),
    }
    tried = set()
    for path in everything(arm):
        kind = arm.twin.kinds[Id.parse(path).type.lower()]
        if kind.type in types:
            tried.add(kind.type)
            refused = arm.call("PATCH", path, kind.versions[0], {"tags": {"team": "one"}})
            assert (refused.status, refused.code) == (405, "MethodNotAllowed"), path
    assert tried == types
