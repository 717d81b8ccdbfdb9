"""Reads statements of IAM policy documents, which resources contain as JSON.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from llmops_kit.policies.model import Resource

Statement = Mapping[str, Any]


def statements(resource: Resource, path: str) -> list[Statement]:
    """Returns the statements of a policy document in a property.

    Raises:
        NotKnownError: the document, or a part of it, is known only after `up`.
    """
    text = resource.get(path)
    if text in (None, ""):
        return []
    document = json.loads(text) if isinstance(text, str) else text
    found = document.get("Statement", [])
    return [found] if isinstance(found, Mapping) else list(found)


def allowed(resource: Resource, path: str) -> Iterator[Statement]:
    return (each for each in statements(resource, path) if each.get("Effect") == "Allow")


def values(value: Any) -> list[str]:
    """Returns an element's value or values as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(each) for each in value]


def is_anybody(statement: Statement) -> bool:
    """Returns whether the principal is anybody in any account."""
    principal = statement.get("Principal")
    if isinstance(principal, Mapping):
        return any("*" in values(each) for each in principal.values())
    return principal == "*" or "NotPrincipal" in statement


def services(statement: Statement) -> list[str]:
    """Returns the services in the statement's principal."""
    principal = statement.get("Principal")
    return values(principal.get("Service")) if isinstance(principal, Mapping) else []


def condition_keys(statement: Statement) -> set[str]:
    """Returns the keys that the statement's conditions compare, in lower case."""
    return {key.lower() for operator in (statement.get("Condition") or {}).values() for key in operator}


def refuses_plain_http(statement: Statement, action: str) -> bool:
    """Returns whether a statement denies an action without TLS to all principals; `s3:*`: all actions of S3."""
    compared = (statement.get("Condition") or {}).get("Bool") or {}
    return (
        statement.get("Effect") == "Deny"
        and is_anybody(statement)
        and bool({action, f"{action.partition(':')[0]}:*", "*"} & set(values(statement.get("Action"))))
        and condition_keys(statement) == {"aws:securetransport"}  # another condition would allow some requests
        and [str(value).lower() for value in compared.values()] == ["false"]
    )


def is_whole_bucket(statement: Statement) -> bool:
    """Returns whether a statement covers a bucket and all its objects."""
    resources = set(values(statement.get("Resource")))
    return "*" in resources or any(f"{each}/*" in resources for each in resources)
