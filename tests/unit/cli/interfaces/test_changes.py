from typing import Any

from pulumi.dynamic.dynamic import serialize_provider

from llmops_kit.cli.interfaces.changes import ResourceChange, changes_of, kind_of, known, resources_of
from llmops_kit.infra.providers import provider

STACK = "urn:pulumi:dev::llmops::"


def step(op: str, type_: str, name: str, **fields: Any) -> dict[str, Any]:
    urn = f"{STACK}{type_}::{name}"
    state = {"urn": urn, "type": type_.rpartition("$")[2], "inputs": fields.pop("inputs", {})}
    new = {} if op in ("delete", "delete-replaced") else {"newState": state}
    return {"op": op, "urn": urn, **new, **fields}


def test_each_kind_of_step_becomes_words_and_what_stays_is_left_out() -> None:
    preview = {
        "steps": [
            step("create", "pulumi:pulumi:Stack", "llmops-dev"),
            step("same", "pulumi:providers:aws", "aws"),
            step("create", "aws:s3/bucket:Bucket", "store (llmops down keeps it)"),
            step(
                "update", "aws:iam/role:Role", "role", detailedDiff={"tags.x": {}, "description": {}, "__defaults": {}}
            ),
            step("create-replacement", "aws:sagemaker/model:Model", "m", replaceReasons=["name"], diffReasons=["name"]),
            step("replace", "aws:sagemaker/model:Model", "m", replaceReasons=["name"], diffReasons=["name"]),
            step("delete-replaced", "aws:sagemaker/model:Model", "m"),
            step("delete", "pulumi-python:dynamic/llmops:Live", "live"),
            step("same", "aws:kms/key:Key", "key"),
            step("refresh", "aws:kms/key:Key", "key"),
        ]
    }
    assert changes_of(preview) == [
        ResourceChange("create", "bucket", "store"),
        ResourceChange("update", "role", "role", ["description", "tags"]),
        ResourceChange("replace", "model", "m", ["name"], ["name"]),
        ResourceChange("delete", "live", "live"),
    ]


def test_a_deletion_says_the_paths_that_it_removes() -> None:
    def deleted(name: str, **inputs: object) -> dict[str, Any]:
        kind = {"__provider": serialize_provider(provider(name))}
        return step("delete", "pulumi-python:dynamic/llmops:Any", "any", oldState={"inputs": kind | inputs})

    for given, paths in (
        (deleted("local/store", folder="/s", project="/p"), ["/s"]),
        (deleted("local/signing-key", private_key="/k", public_key_file="/p"), ["/k", "/p"]),
        (deleted("local/endpoint", key_file="/chat.key", folder="/version"), ["/chat.key", "/chat/api_keys.json"]),
        (deleted("local/endpoint", key_file="/"), ["/", "/api_keys.json"]),
        (
            deleted("local/signing-key", private_key="/2", public_key_file="/pub", older_keys=["/1"]),
            ["/2", "/pub", "/1"],
        ),
        (deleted("aws/live"), []),
        (step("delete", "llmops:Any", "any", oldState={"inputs": {"__provider": "planted", "folder": "/s"}}), []),
    ):
        assert changes_of({"steps": [given]}) == [ResourceChange("delete", "any", "any", paths=paths)]


def test_resources_are_those_that_will_be_there_with_their_own_type() -> None:
    component = "llmops:Endpoint$aws:sagemaker/model:Model"
    preview = {
        "steps": [
            step("same", component, "m", inputs={"name": "x"}),
            step("delete", "aws:kms/key:Key", "key"),
            step("create", "pulumi:pulumi:Stack", "llmops-dev"),
        ]
    }
    assert [(r.type, r.name, r.properties) for r in resources_of(preview)] == [
        ("aws:sagemaker/model:Model", "m", {"name": "x"})
    ]


def test_a_kind_in_words() -> None:
    assert kind_of("aws:sagemaker/endpointConfiguration:EndpointConfiguration") == "endpoint configuration"


def test_what_is_known_after_up_only_gives_the_default() -> None:
    assert known("04da6b54-80e4-46f7-96ec-b56ff0331ba9", 3) == 3
    assert known(None, 3) == 3
    assert known(0, 3) == 0
