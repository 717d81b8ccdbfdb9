"""Changed limits of servers in a plan, and the prefix cache, on every target."""

from typing import Any

from llmops_kit.cli.plan.limits import limit_changes

STACK = "urn:pulumi:dev::llmops::"
OTHER = {"LLMOPS_PRECISION": "f32"}


def step(op: str, type_: str, name: str, before: Any = None, after: Any = None) -> dict[str, Any]:
    states = {"oldState": before, "newState": after}
    return {"op": op, "urn": f"{STACK}{type_}::{name}"} | {k: {"inputs": v} for k, v in states.items() if v is not None}


def test_what_changes_is_named_with_both_values() -> None:
    local, model = "pulumi-python:dynamic/llmops:Endpoint", "aws:sagemaker/model:Model"
    azure = "azure-native:machinelearningservices:OnlineDeployment"

    def container(**limits: str) -> dict[str, Any]:
        return {"primaryContainer": {"environment": OTHER | limits}}

    def deployment(**limits: str) -> dict[str, Any]:
        return {"properties": {"environmentVariables": OTHER | limits}}

    preview = {
        "steps": [
            step("update", local, "endpoint-chat", {"limits": {}}, {"limits": {"LLMOPS_MAX_QUEUE": "8"}}),
            step("update", local, "endpoint-talk", {"limits": {}}, {"limits": {}, "prefix_cache": True}),
            step("same", local, "endpoint-kept", *[{"limits": {"LLMOPS_MAX_QUEUE": "8"}}] * 2),
            step("create", local, "endpoint-new", None, {"limits": {"LLMOPS_MAX_QUEUE": "8"}}),
            step("create-replacement", model, "model-aws", container(LLMOPS_MAX_QUEUE="64"), container()),
            step("create-replacement", model, "model-us", container(LLMOPS_PREFIX_CACHE="true"), container()),
            step("delete-replaced", model, "model-aws", container(LLMOPS_MAX_QUEUE="64")),
            step("create", azure, "deployment-a-chatbot-1-0000", None, deployment(LLMOPS_REQUEST_SECONDS="40")),
            step("delete", azure, "deployment-a-chatbot-1-1111", deployment(LLMOPS_REQUEST_SECONDS="60")),
            step("same", azure, "deployment-a-b-chatbot-1-1111", *[deployment()] * 2),
        ]
    }
    assert limit_changes(preview, ["chat", "talk", "kept", "new", "aws", "us", "a", "a-b"]) == {
        "chat": ["limits.max_queue default -> 8"],
        "talk": ["prefix_cache default -> true"],
        "us": ["prefix_cache true -> default"],
        "aws": ["limits.max_queue 64 -> default"],
        "a": ["limits.request_seconds 60 -> 40"],
    }
