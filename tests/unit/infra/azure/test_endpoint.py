"""What is declared for an endpoint, for clusters, environments and schedules."""

import json
import re
from functools import cache
from typing import Any

import pulumi
import pytest
from pulumi_azure_native import Provider

from llmops_kit.clouds.azure.job_requests import SCHEDULED_RUN
from llmops_kit.clouds.azure.location import AzureLocation
from llmops_kit.core.layout import model_key
from llmops_kit.infra.resource_names import CloudNames
from llmops_kit.infra.targets.azure.inventory import AzureInventory
from llmops_kit.infra.targets.azure.resources import endpoint, training
from llmops_kit.infra.targets.azure.resources.context import (
    AzureIdentity,
    AzureRecords,
    AzureRegistry,
    AzureSigningKeys,
    AzureStack,
    AzureStorage,
    AzureVault,
    AzureWorkspace,
    SharedResources,
)
from llmops_kit.settings.stack_settings import Settings
from tests.support.checkout import EXAMPLES
from tests.support.clouds.settings import resolved
from tests.unit.infra.azure.arm import PLACE, WORKSPACE
from tests.unit.infra.program import Declared, run_program

A, B = f"chatbot@3@sha256:{'a' * 64}", f"chatbot@4@sha256:{'b' * 64}"
SERVING, TRAINING = f"r.azurecr.io/serving@sha256:{'5' * 64}", f"r.azurecr.io/training@sha256:{'7' * 64}"
GROUP_ID = f"/subscriptions/{PLACE['subscription']}/resourceGroups/g"
ML = "azure-native:machinelearningservices"


def declare(
    *,
    azure: dict[str, Any] | None = None,
    specs: dict[str, str] | None = None,
    stack: str = "demo",
    endpoints: dict[str, Any] | None = None,
    chat: dict[str, Any] | None = None,
    repairs: dict[str, int] | None = None,
) -> Declared:
    """The training and endpoint rooms alone, on a ground that is there already."""
    entries = ({} if chat is None else {"chat": chat}) | (endpoints or {})
    repairs = repairs or {"endpoint": 0, "deployment": 0}
    return _declare(json.dumps([azure or {}, specs or {}, stack, entries, repairs]))


@cache
def _declare(given: str) -> Declared:
    azure, specs, name_of_stack, entries, repairs = json.loads(given)
    settings = Settings.model_validate(
        {
            "target": "azure",
            "images": {"serving": SERVING, "training": TRAINING},
            "endpoints": {name: {"model": A} | given for name, given in entries.items()},
            "azure": {**azure, "workspace": WORKSPACE},
        }
    )

    def part() -> None:
        names, given = CloudNames("llmops", name_of_stack), resolved(settings, stack=name_of_stack)
        inventory = AzureInventory(names, AzureLocation.of(PLACE), given)
        parent = pulumi.ComponentResource("llmops:azure:ModelStore", "store")
        operator = pulumi.Output.from_input({"object_id": "o", "kind": "User"})
        stack = AzureStack(inventory, None, frozenset(), "g", Provider("azure"), operator, parent)
        shared = _shared()
        clusters = training.declare_computes(stack, shared)
        jobs = training.declare_environment(stack, shared, "training", TRAINING)
        servers = training.declare_environment(stack, shared, "serving", SERVING)
        training.declare_schedules(stack, shared, specs, jobs, clusters)
        versions = {entry.version: None for entry in settings.endpoints.values()}
        made = {version: endpoint.declare_version(stack, shared, version) for version in versions}
        for name, each in stack.resolved.endpoints.items():
            url = endpoint.declare_endpoint(stack, each, shared, servers, made[each.entry.version])
            pulumi.export(name, url)

    computed = {"traffic": {}, "mirror": {}, "capacity": 1, "repairs": repairs}
    return run_program({}, part=part, stack_name=name_of_stack, computed=computed)


STORES = {word: word for word in ("store", "work", "checkpoints")}


def _shared() -> SharedResources:
    identity = AzureIdentity(f"{GROUP_ID}/i", "client", "principal", [])
    return SharedResources(
        storage=AzureStorage(f"{GROUP_ID}/s", "data", "https://data", "store", "work", []),
        vault=AzureVault(f"{GROUP_ID}/v", "https://v", []),
        signing=AzureSigningKeys("azurekeyvault://v/keys/k/1", "-----BEGIN PUBLIC KEY-----"),
        registry=AzureRegistry(f"{GROUP_ID}/r", "r.azurecr.io", []),
        training=identity,
        endpoint=identity,
        workspace=AzureWorkspace(WORKSPACE, "w", "g", STORES, []),
        records=AzureRecords(f"{GROUP_ID}/l", f"{GROUP_ID}/m", []),
        action_group=f"{GROUP_ID}/a",
    )


def the(declared: Declared, kind: str) -> dict[str, Any]:
    """The one resource of a kind."""
    (found,) = declared.all_of(kind)
    return found


def assets(declared: Declared) -> dict[str, dict[str, Any]]:
    """Versions of models and environments, by their logical names."""
    return {urn.rpartition("::")[2]: inputs for urn, inputs in declared.resources.items() if ":Asset::" in urn}


def deployment(declared: Declared) -> dict[str, Any]:
    return the(declared, f"{ML}:OnlineDeployment")


def test_an_endpoint_takes_entra_tokens_and_reads_as_the_stacks_identity() -> None:
    found = the(declare(chat={}), f"{ML}:OnlineEndpoint")
    assert found["properties"] == {
        "authMode": "AADToken", "publicNetworkAccess": "Enabled", "traffic": {}, "mirrorTraffic": {},
    }  # fmt: skip
    assert found["identity"] == {"type": "UserAssigned", "userAssignedIdentities": [f"{GROUP_ID}/i"]}
    assert found["tags"] == {"llmops:project": "llmops", "llmops:stack": "demo"}


def test_a_deployment_runs_the_promoted_version_as_the_platform_lets_callers_in() -> None:
    found = deployment(declare(chat={"start_seconds": 605}))["properties"]
    assert found["environmentVariables"] == {
        "LLMOPS_AUTH": "platform",
        "LLMOPS_PLATFORM": "azureml",
        "LLMOPS_MODEL_NAME": "chatbot@3",
        "LLMOPS_MODEL_SHA256": "a" * 64,
        "LLMOPS_PRECISION": "auto",
        "LLMOPS_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----",
    }
    assert found["instanceType"] == "Standard_DS3_v2"
    assert found["requestSettings"]["maxConcurrentRequestsPerInstance"] == 96
    assert found["requestSettings"]["requestTimeout"] == "PT180S"
    assert found["startupProbe"]["failureThreshold"] * 10 >= 605
    version = assets(declare(chat={}))["model-chatbot-3-aaaaaaaa"]
    uri = json.loads(version["content"])["modelUri"]
    assert uri.endswith(f"/workspaces/w/datastores/store/paths/{model_key('a' * 64)}")
    name, number = version["asset"].rpartition("/models/")[2].split("/versions/")
    assert number == "3", "Azure takes integers alone for versions of models"
    assert name.endswith("-aaaaaaaa"), "another content under this number is another model"


def test_a_waived_gate_leaves_the_last_word_to_the_rollouts_watch() -> None:
    found = deployment(declare(chat={"gate": "waived"}))["properties"]["environmentVariables"]
    assert found["LLMOPS_GOLDEN"] == "reported"


@pytest.mark.parametrize(
    "other",
    [
        {"model": B},
        {"precision": "f32"},
        {"gate": "waived"},
        {"size": {"instance_type": "Standard_F8s_v2"}},
    ],
)
def test_what_cant_change_in_place_comes_beside_the_old_deployment(other: dict[str, Any]) -> None:
    before, after = declare(chat={}), declare(chat=other)
    assert deployment(before)["deploymentName"] != deployment(after)["deploymentName"]
    urns = [{urn for urn in each.resources if f"{ML}:OnlineDeployment" in urn} for each in (before, after)]
    assert urns[0] != urns[1]  # the engine makes one and deletes the other: it replaces none
    stable = {"endpoint-chat", "traffic-chat", "live-chat", "preparation-chat"}
    assert all(after.has(name) for name in stable)


@pytest.mark.parametrize(
    "other", [{"start_seconds": 1200}, {"size": {"instances": 2}}, {"rollout": {"strategy": "linear"}}]
)
def test_what_changes_in_place_keeps_the_deployment(other: dict[str, Any]) -> None:
    assert deployment(declare(chat={}))["deploymentName"] == deployment(declare(chat=other))["deploymentName"]


def test_traffic_and_the_check_are_told_of_what_is_declared() -> None:
    declared = declare(chat={"rollout": {"strategy": "canary", "canary_percent": 5}})
    name = deployment(declared)["deploymentName"]
    traffic, live = declared.of("traffic-chat"), declared.of("live-chat")
    assert traffic["deployment"] == live["deployment"] == name
    assert traffic["rollout"] == {
        "strategy": "canary", "canary_percent": 5, "step_percent": 25, "mirror_percent": 0, "bake_seconds": 300,
        "extra_bakes": 2, "on_inconclusive": "promote",
    }  # fmt: skip
    assert traffic["limits"] == {"error_rate": 0.05, "latency_seconds": 20.0, "quality": 1.0}
    assert traffic["store"] == "https://data/store"
    assert live["image"] == SERVING
    assert live["traffic"] == {name: 100}


def test_names_fit_azures_limits_with_a_long_stack_name() -> None:
    stack = "a-very-long-name-of-a-stack-of-forty-char"
    name = "an-endpoint-with-a-name-of-thirt"
    declared = declare(stack=stack, endpoints={name: {}})
    pattern = r"(?=.{3,32}$)[a-zA-Z](-?[a-zA-Z0-9])*"
    assert re.fullmatch(pattern, the(declared, f"{ML}:OnlineEndpoint")["endpointName"])
    assert re.fullmatch(pattern, deployment(declared)["deploymentName"])
    other = declare(stack=stack + "x", endpoints={name: {}})
    assert the(declared, f"{ML}:OnlineEndpoint")["endpointName"] != the(other, f"{ML}:OnlineEndpoint")["endpointName"]


def test_two_endpoints_of_one_version_share_what_azure_knows_of_it() -> None:
    assert [name for name in assets(declare(chat={}, endpoints={"help": {}})) if name.startswith("model-")] == [
        "model-chatbot-3-aaaaaaaa"
    ]


def test_what_was_put_again_says_how_often() -> None:
    stack = {"llmops:project": "llmops", "llmops:stack": "demo"}
    declared = declare(chat={})
    assert deployment(declared)["tags"] == stack
    repaired = declare(chat={}, repairs={"endpoint": 0, "deployment": 2})
    assert deployment(repaired)["tags"] == stack | {"llmops:repairs": "2"}
    assert the(repaired, f"{ML}:OnlineEndpoint")["tags"] == stack


def test_scaling_that_the_preparation_removed_is_put_again() -> None:
    repairs = {"endpoint": 0, "deployment": 0, "scaling": 1}
    tags = declare(chat={"size": {"max_instances": 2}}, repairs=repairs).of("scaling-chat")["tags"]
    assert tags == {"llmops:project": "llmops", "llmops:stack": "demo", "llmops:repairs": "1"}


def test_scaling_goes_both_ways_between_the_limits() -> None:
    assert not declare(chat={}).has("scaling-chat")
    size = {"instances": 2, "max_instances": 5, "concurrent_requests": 8}
    declared = declare(azure={"answer_seconds": 15}, chat={"size": size})
    found = declared.of("scaling-chat")
    (profile,) = found["profiles"]
    assert profile["capacity"] == {"minimum": "2", "maximum": "5", "default": "2"}
    out, back = profile["rules"]
    assert (out["metricTrigger"]["threshold"], out["metricTrigger"]["operator"]) == (32.0, "GreaterThan")
    assert (back["metricTrigger"]["threshold"], back["metricTrigger"]["operator"]) == (16.0, "LessThan")
    assert (out["scaleAction"]["direction"], back["scaleAction"]["direction"]) == ("Increase", "Decrease")
    for trigger in (out["metricTrigger"], back["metricTrigger"]):
        assert trigger["metricName"] == "RequestsPerMinute", "idle connections hold no instance up"
        assert trigger["dimensions"] == [
            {"dimensionName": "deployment", "operator": "Equals", "values": [deployment(declared)["deploymentName"]]}
        ]
    assert found["enabled"] is True


def test_alerts_have_the_settings_limits_and_look_at_this_endpoint() -> None:
    limits = {"error_rate": 0.25, "latency_seconds": 3.0, "quality": 0.5}
    declared = declare(azure={"alerts": limits}, chat={})
    errors, quality = (declared.of(f"alert-chat-{what}") for what in ("errors", "quality"))
    assert errors["criteria"]["allOf"][0]["threshold"] == 0.25
    assert quality["criteria"]["allOf"][0]["threshold"] == 0.5
    assert "a" * 64 not in quality["criteria"]["allOf"][0]["query"], "it watches whichever version serves"
    (latency,) = declared.of("alert-chat-latency")["criteria"]["allOf"]
    assert (latency["metricName"], latency["threshold"]) == ("RequestLatency_P90", 3000.0)
    assert declared.of("alert-chat-latency")["scopes"] == ["endpoint-chat"]
    assert {each["category"] for each in declared.of("logs-chat")["logs"]} == set(endpoint_logs())


def endpoint_logs() -> tuple[str, ...]:
    from llmops_kit.infra.targets.azure.resources.alerts import LOGS

    return LOGS


def test_clusters_cost_nothing_while_nothing_runs_and_are_named_by_what_cant_change() -> None:
    def named(**cluster: Any) -> dict[str, Any]:
        return the(declare(azure={"computes": {"gpu": {"vm_size": "Standard_NC4as_T4_v3"} | cluster}}), f"{ML}:Compute")

    plain, spot, more = named(), named(spot=True), named(max_nodes=4, idle_minutes=10)
    properties = plain["properties"]["properties"]
    assert properties["scaleSettings"] == {
        "minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT2M",
    }  # fmt: skip
    assert plain["properties"]["disableLocalAuth"] is True
    assert spot["properties"]["properties"]["vmPriority"] == "LowPriority"
    assert plain["computeName"] != spot["computeName"]
    assert plain["computeName"] == more["computeName"]
    assert more["properties"]["properties"]["scaleSettings"]["nodeIdleTimeBeforeScaleDown"] == "PT10M"
    assert re.fullmatch(r"[a-zA-Z](?![a-zA-Z0-9-]*-\d+$)[a-zA-Z0-9-]{2,23}", plain["computeName"])


def test_environments_are_images_and_serving_has_routes() -> None:
    declared = declare()
    found = {name: json.loads(each["content"]) for name, each in assets(declared).items()}
    serving, job = (next(i for n, i in found.items() if word in n) for word in ("serving", "training"))
    assert (serving["image"], job["image"]) == (SERVING, TRAINING)
    routes = serving["inferenceConfig"]
    assert routes["scoringRoute"] == {"path": "/", "port": 8080}
    assert {route["path"] for name, route in routes.items() if name != "scoringRoute"} == {"/ping"}
    assert "inferenceConfig" not in job


def test_a_schedule_starts_the_runs_job() -> None:
    run = json.loads((EXAMPLES / "run-2.json").read_text()) | {"id": "chat-1"}
    weekly = {"run": "chat-1", "cron": "0 3 * * 0", "max_hours": 2, "on": False}
    declared = declare(azure={"schedules": {"weekly": weekly}}, specs={"weekly": json.dumps(run)})
    found = declared.of("schedule-weekly")["properties"]
    assert found["isEnabled"] is False
    assert found["trigger"] == {"triggerType": "Cron", "expression": "0 3 * * 0", "timeZone": "UTC"}
    job = found["action"]["jobDefinition"]
    assert job["limits"] == {"jobLimitsType": "Command", "timeout": "PT2H"}
    assert job["jobType"] == "Command"
    assert job["resources"] == {"instanceCount": 1, "shmSize": "8g"}
    assert job["identity"] == {"identityType": "Managed", "clientId": "client"}
    assert SCHEDULED_RUN in job["outputs"]["model"]["uri"]
    assert job["inputs"]["spec"]["uri"] == "azureml://datastores/work/paths/schedules/weekly/chat-1/"
    assert job["computeId"].endswith(f"/computes/{the(declared, f'{ML}:Compute')['computeName']}")
    kept = declared.of("schedule-weekly-spec")
    assert (kept["container"], kept["key"]) == ("https://data/work", "schedules/weekly/chat-1/run.json")
    assert json.loads(kept["content"])["image"] == TRAINING
