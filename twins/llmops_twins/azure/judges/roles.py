"""Role definitions of Azure RBAC: which actions a role allows, by patterns in which `*` stands for any text.

https://learn.microsoft.com/azure/role-based-access-control/role-definitions
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("roles.json")


@dataclass(frozen=True)
class Permission:
    """One block of a definition: it allows `actions` except `not_actions`; data actions likewise."""

    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    data_actions: tuple[str, ...] = ()
    not_data_actions: tuple[str, ...] = ()

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Permission":
        """Reads a `permissions` item of Azure's REST API."""
        names = ("actions", "notActions", "dataActions", "notDataActions")
        return cls(*(tuple(document.get(name) or ()) for name in names))

    def allows(self, action: str, data: bool) -> bool:
        """Returns whether the block allows the action."""
        given, taken = self._compiled_data if data else self._compiled
        return bool(given.fullmatch(action)) and not taken.fullmatch(action)

    @cached_property
    def _compiled(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        return _compile(self.actions), _compile(self.not_actions)

    @cached_property
    def _compiled_data(self) -> tuple[re.Pattern[str], re.Pattern[str]]:
        return _compile(self.data_actions), _compile(self.not_data_actions)


@dataclass(frozen=True)
class AzureRole:
    """A role definition; `id` is its GUID in lower case."""

    id: str
    name: str
    permissions: tuple[Permission, ...]

    def allows(self, action: str, data: bool = False) -> bool:
        """Returns whether one of its blocks allows the action (`data`: a data action), in any case."""
        return any(permission.allows(action, data) for permission in self.permissions)


@cache
def built_in() -> Mapping[str, AzureRole]:
    """Returns the built-in roles known to the twin, by GUID."""
    found = json.loads(_FILE.read_text())["roles"]
    return {each["id"]: AzureRole(each["id"], each["name"], (Permission.read(each),)) for each in found}


def guid_of(role_definition_id: str) -> str:
    """Returns the last part of a definition's id: two ids of one role may have different scopes."""
    return role_definition_id.rstrip("/").rpartition("/")[2].lower()


def custom(document: Mapping[str, Any]) -> AzureRole:
    """Returns the role of a custom definition's document."""
    properties = document["properties"]
    blocks = tuple(Permission.read(each) for each in properties.get("permissions") or ())
    return AzureRole(guid_of(document["id"]), properties.get("roleName", ""), blocks)


def _compile(patterns: Iterable[str]) -> re.Pattern[str]:
    """Returns a pattern that matches any of the actions; without actions, nothing. `a/*/read` matches `a/read` too: an
    AzureML Data Scientist can read the workspace.
    https://learn.microsoft.com/azure/machine-learning/how-to-assign-roles
    """
    alternatives = "|".join(".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns)
    alternatives = alternatives.replace("/.*/", "/(?:.*/)?")
    return re.compile(alternatives or r"(?!)", re.IGNORECASE | re.DOTALL)
