"""Condition keys: those that a request's parameters fill, and the global ones.

Source: "AWS global condition context keys" in the IAM User Guide, and each service's page of the Service Authorization
Reference.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import jmespath

from llmops_twins.aws.calls import ApiCall
from llmops_twins.aws.judges import operation_tables
from llmops_twins.aws.judges.account import AwsIdentity, JudgedAccount

Context = dict[str, str | list[str]]


def context_of(call: ApiCall, prefix: str) -> Context:
    """Returns the condition keys that a call's own parameters fill."""
    context = {key: _plain(value) for key, value in _found(operation_tables.CONTEXT.get(prefix, {}), call.parameters)}
    tags = tags_of(call.parameters)
    context.update({f"aws:RequestTag/{key}": value for key, value in tags.items()})
    keys = list(tags) or jmespath.search(operation_tables.TAG_KEYS, call.parameters) or []
    if keys:
        context["aws:TagKeys"] = [str(key) for key in keys]
    for key, value in (call.parameters.get("EncryptionContext") or {}).items():
        context[f"kms:EncryptionContext:{key}"] = str(value)
        context.setdefault("kms:EncryptionContextKeys", []).append(key)  # pyright: ignore[reportAttributeAccessIssue]
    return context


def tags_of(parameters: dict[str, Any]) -> dict[str, str]:
    """Returns the tags in a request, in whichever form the service uses."""
    given = jmespath.search(operation_tables.REQUEST_TAGS, parameters)
    if isinstance(given, dict):
        return {str(key): str(value) for key, value in given.items()}
    pairs = [each for each in given or [] if isinstance(each, dict)]
    named = [(each.get("Key") or each.get("key") or each.get("TagKey"), each) for each in pairs]
    return {
        str(key): str(each.get("Value") or each.get("value") or each.get("TagValue") or "")
        for key, each in named
        if key
    }


def context_of_caller(who: AwsIdentity, account: JudgedAccount, region: str) -> Context:
    """Returns the global keys of a request. The twin's loopback address counts as AWS's TLS."""
    now = datetime.now(UTC)
    context: Context = {
        "aws:PrincipalArn": who.role or who.arn,
        "aws:PrincipalAccount": account.id,
        "aws:PrincipalType": who.kind,
        "aws:userid": who.user_id,
        "aws:ResourceAccount": account.id,
        "aws:RequestedRegion": region,
        "aws:SecureTransport": "true",
        "aws:ViaAWSService": "false",
        "aws:PrincipalIsAWSService": "false",
        "aws:CurrentTime": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "aws:EpochTime": str(int(now.timestamp())),
        "ec2:Region": region,
        "kms:CallerAccount": account.id,
    }
    if who.kind == "User":
        context["aws:username"] = who.arn.rpartition("/")[2]
    if who.kind == "AssumedRole":
        context["aws:MultiFactorAuthPresent"] = "false"
    for key, value in who.tags.items():
        context[f"aws:PrincipalTag/{key}"] = value
    return context


def context_of_service(service: str, account: JudgedAccount, region: str) -> Context:
    """Returns the global keys of a request that a service makes in its own name."""
    now = datetime.now(UTC)
    return {
        "aws:PrincipalIsAWSService": "true",
        "aws:PrincipalServiceName": service,
        "aws:PrincipalServiceNamesList": [service],
        "aws:RequestedRegion": region,
        "aws:ResourceAccount": account.id,
        "aws:SecureTransport": "true",
        "aws:ViaAWSService": "false",
        "aws:CurrentTime": now.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "kms:CallerAccount": account.id,
    }


def _found(table: dict[str, str], parameters: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, expression in table.items():
        value = jmespath.search(expression, parameters)
        if value is not None and value != []:
            yield key, value


def _plain(value: Any) -> str | list[str]:
    if isinstance(value, list):
        return [str(_plain(each)) for each in value if each is not None]
    return str(value).lower() if isinstance(value, bool) else str(value)
