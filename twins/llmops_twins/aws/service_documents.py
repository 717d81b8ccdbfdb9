"""Helpers for the services' own documents: storage, pages, tags, times, and calls between services."""

import base64
import inspect
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from llmops_twins.aws.calls import ApiCall, AwsApiError
from llmops_twins.aws.twin import AccountTwin

Document = dict[str, Any]


def implement_methods(twin: AccountTwin, service: str, answers: object) -> None:
    """Registers each method of an object that takes only a `call` as the handler of the operation of its name:
    `create_budget` for CreateBudget.
    """
    for name, method in inspect.getmembers(answers, inspect.ismethod):
        if list(inspect.signature(method).parameters) == ["call"] and not name.startswith("_"):
            operation = "".join(word.capitalize() for word in name.split("_"))
            twin.implement(service, operation, method)


def shelf(twin: AccountTwin, service: str, kind: str, region: str) -> dict[str, Document]:
    """Returns the documents of one kind in a region, by key; they are part of the twin's state."""
    return twin.state.setdefault(service, {}).setdefault(region, {}).setdefault(kind, {})


def regions(twin: AccountTwin, service: str) -> list[str]:
    """Returns the regions in which a service keeps documents."""
    return list(twin.state.get(service, {}))


def plain(value: Any) -> Any:
    """Returns a call's parameters as JSON types: times as seconds since 1970, bytes as base64."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def now() -> float:
    """Returns the seconds since 1970, to the millisecond, as in API responses."""
    return round(time.time(), 3)


def new_id() -> str:
    """Returns a random UUID."""
    return str(uuid.uuid4())


def page(
    items: Iterable[Any], token: str | None, limit: int | None, default: int = 100
) -> tuple[list[Any], str | None]:
    """Returns one page of items, and the token of the next.

    Raises:
        AwsApiError: the token was not returned with an earlier page.
    """
    everything = list(items)
    if token and not token.isdigit():
        # unsure (70 %): the code is Secrets Manager's, Budgets' and Application Auto Scaling's; others have their own
        raise AwsApiError("InvalidNextTokenException", "The specified token is invalid.")
    begin = int(token or 0)
    end = begin + (limit or default)
    return everything[begin:end], str(end) if end < len(everything) else None


def tag_list(tags: Mapping[str, str], key: str = "Key", value: str = "Value") -> list[dict[str, str]]:
    """Returns tags as most APIs list them."""
    return [{key: name, value: text} for name, text in tags.items()]


def tag_map(tags: Iterable[Mapping[str, str]] | None, key: str = "Key", value: str = "Value") -> dict[str, str]:
    """Returns tags as a mapping; a tag without a value has an empty one."""
    return {tag[key]: tag.get(value, "") for tag in tags or []}


def ask(
    twin: AccountTwin, service: str, operation: str, region: str, parameters: Document, principal: str = ""
) -> Document:
    """Returns the response of the twin's own handler of another service; judged first if `principal` is given.

    Raises:
        AwsApiError: the service refuses, or the principal may not.
    """
    call = ApiCall(service, operation, parameters, "", region, principal)
    if principal:
        for judge in twin.judges:
            judge(call)
    for check in twin.checks(service, operation):
        check(call)
    answer = twin.answer_at_once(call)
    if answer is None:
        raise AwsApiError("UnknownOperationException", f"The twin can't call {service}:{operation} for a platform.")
    for hook in [*twin.mends(service, operation), *twin.hooks(service, operation)]:
        hook(call, answer)
    twin.changed()
    return answer
