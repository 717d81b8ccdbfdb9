"""Finds and removes resources with the kit's tags in an account."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from llmops_kit.cli.interfaces.platform import Say

RUN = "training job"


@dataclass(frozen=True)
class Thing:
    """A cloud resource with the kit's tags."""

    kind: str
    name: str
    id: str
    """Its id in a stack's state: the ARN on AWS, the resource id on Azure."""
    project: str = ""
    stack: str = ""
    expires: str = ""
    created: datetime | None = None
    usd_month: float | None = None
    """None: not known."""
    data: bool = False
    """True for models, datasets, images and keys, which `llmops down` keeps."""
    keep: str = ""
    """Why it can't be removed; empty: it can."""
    needed_by: str = ""
    """Id of the resource that uses it."""


class Sweeper(Protocol):
    """Finds and removes resources in one account and region."""

    place: str
    """Account and region, or subscription, as a person reads it."""

    def things(self, project: str) -> list[Thing]:
        """Returns the resources that have the kit's tags for a project, or a name of the project."""
        ...

    def lives_here(self, outputs: Mapping[str, Any]) -> bool:
        """Returns whether a stack with these outputs lives in this account and region."""
        ...

    def remove(self, things: Collection[Thing], say: Say) -> list[str]:
        """Removes resources in order of dependency; returns a line for each that remains, with the reason."""
        ...
