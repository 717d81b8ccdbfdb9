"""Shared by the listings of each kind of resource: clients, tags, names, prices."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from llmops_kit.cli.machines.prices import Price, Prices
from llmops_kit.cli.platforms.aws.clients import AwsClients
from llmops_kit.cli.platforms.aws.removal import tag_map
from llmops_kit.cli.platforms.sweep import Thing
from llmops_kit.clouds.aws.errors import find
from llmops_kit.clouds.aws.names import PROJECT_TAG, STACK_TAG
from llmops_kit.core.expiry import EXPIRES_TAG

_HOURS_A_MONTH = 730


@dataclass(frozen=True)
class AwsLook:
    """Clients, tags, names and prices of one sweep."""

    clients: AwsClients
    project: str
    tagged: Mapping[str, Mapping[str, str]]
    """ARN -> tags, from the tagging API."""
    prices: Prices

    @property
    def prefix(self) -> str:
        """Prefix of names of the project's resources (infra/resource_names.py)."""
        return f"{''.join(c if c.isalnum() else '-' for c in self.project.lower())}-"

    def thing(self, kind: str, name: str, arn: str, tags: Mapping[str, str] | None = None, **more: Any) -> Thing:
        """Returns a resource with its tags; those of the tagging API if its own service returns none."""
        found = tags if tags is not None else self.tagged.get(arn, {})
        whose = {"project": found.get(PROJECT_TAG, ""), "stack": found.get(STACK_TAG, "")}
        return Thing(kind, name, arn, expires=found.get(EXPIRES_TAG, ""), **whose, **more)

    def tags(self, read: Callable[..., Any], field: str, **arguments: Any) -> Mapping[str, str] | None:
        """Returns the tags of a listed resource by a call of its service; None if it is gone by now."""
        answer = find(read, **arguments)
        found = answer and (answer.get(field) or {})
        return tag_map(found) if isinstance(found, list) else found

    def pages(self, service: str, operation: str, key: str, **arguments: Any) -> Iterator[Any]:
        """Yields the entries of a list operation, from all pages."""
        for page in self.clients(service).get_paginator(operation).paginate(**arguments):
            yield from page.get(key, [])

    def month(self, price: Price | None, times: float = 1.0) -> float | None:
        """Returns the dollars per month of `times` resources with a price per hour; None if it is unknown."""
        return price and price.amount * _HOURS_A_MONTH * times
