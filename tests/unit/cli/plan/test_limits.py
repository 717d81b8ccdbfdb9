"""Changed limits of servers in a plan, and the prefix cache, on every target."""

from pathlib import Path
from typing import Any

from llmops_kit.cli.interfaces.changes import resources_of
from llmops_kit.cli.plan.limits import limit_changes, memory_limits

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
            step(
                "update",
                local,
                "endpoint-large",
                {"limits": {}, "memory_mb": None},
                {"limits": {}, "memory_mb": 2048.0},
            ),
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
    assert limit_changes(preview, ["chat", "talk", "large", "kept", "new", "aws", "us", "a", "a-b"]) == {
        "chat": ["limits.max_queue default -> 8"],
        "talk": ["prefix_cache default -> true"],
        "large": ["limits.memory_mb default -> 2048"],
        "us": ["prefix_cache true -> default"],
        "aws": ["limits.max_queue 64 -> default"],
        "a": ["limits.request_seconds 60 -> 40"],
    }


def test_a_plan_shows_the_memory_of_servers_that_are_processes(tmp_path: Path) -> None:
    local, image = "pulumi-python:dynamic/llmops:Endpoint", "process:serving@sha256:" + "0" * 64
    (tmp_path / "model.safetensors").write_bytes(bytes(3 << 20))
    inputs = {"folder": str(tmp_path), "limits": {}, "image": image, "memory_mb": None}
    steps = [
        step("same", local, "endpoint-chat", inputs, inputs | {"endpoint": "chat"}),
        step("create", local, "endpoint-set", None, inputs | {"endpoint": "set", "memory_mb": 2048.0}),
        step("create", local, "endpoint-in-docker", None, inputs | {"endpoint": "c", "image": "docker:x@sha256:0"}),
        step("delete", local, "endpoint-gone", inputs | {"endpoint": "gone"}),
    ]
    assert memory_limits(resources_of({"steps": steps})) == {
        "chat": "a server is replaced above 1542 MiB of memory (by model and machine); it needs 259 MiB",
        "set": "a server is replaced above 2048 MiB of memory (limits.memory_mb); it needs 259 MiB",
    }
