"""A call of Azure Resource Manager as services and judges see it, its caller, and its answer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from werkzeug.datastructures import Headers

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
Document = dict[str, Any]
"""A resource as JSON. Members whose names begin with "_" are the twin's own, and are never shown."""


def timestamp(seconds: float | None = None) -> str:
    """Returns a time (seconds since 1970; now by default) in Azure's format."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Principal:
    """A principal of the tenant. `kind`: "user", "application" (with a secret or a federated token) or "identity"
    (managed identity); "twin" with no `object_id` is the platform itself, which may do everything.
    """

    object_id: str
    app_id: str
    name: str
    kind: str


TWIN = Principal("", "", "twin", "twin")


@dataclass
class ArmCall:
    """A request below /subscriptions or /providers. `id` is the resource's id as the caller wrote it (without the
    verb of an action, or of the collection for a list); `query` has the parameters by name; `body` is parsed JSON, None
    without one; `url` is the twin's base URL.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: Mapping[str, str] | Headers
    body: Any
    caller: Principal
    api_version: str
    id: str
    url: str


@dataclass(frozen=True)
class Reply:
    """An answer. `body` is any JSON value, or bytes; None: no body. It is sent after `seconds`."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
