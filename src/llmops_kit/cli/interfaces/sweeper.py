"""Looks through an account for what carries the kit's tags."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from llmops_kit.cli.interfaces.platform import Say

RUN = "training job"


@dataclass(frozen=True)
class Thing:
    """Something in an account, with the tags by which it is ours."""

    kind: str
    name: str
    id: str
    """What a state knows it by: its ARN on AWS, its resource id on Azure."""
    project: str = ""
    stack: str = ""
    expires: str = ""
    created: datetime | None = None
    usd_month: float | None = None
    """None: not known."""
    data: bool = False
    """Models, datasets, images or keys: what `llmops down` keeps."""
    keep: str = ""
    """Why it must stay; empty: it may be removed."""
    needed_by: str = ""
    """Id of the thing that uses it."""


class Sweeper(Protocol):
    """Looks through one account and region."""

    place: str
    """Account and region, or subscription, as a person reads it."""

    def things(self, project: str) -> list[Thing]:
        """Returns everything that carries the kit's tags for a project, or has a name of the project's."""
        ...

    def lives_here(self, outputs: Mapping[str, Any]) -> bool:
        """Returns whether a stack with these outputs lives in this account and region."""
        ...

    def remove(self, things: Collection[Thing], say: Say) -> list[str]:
        """Remove things in an order that works; what could not be removed, a line each with the reason."""
        ...
