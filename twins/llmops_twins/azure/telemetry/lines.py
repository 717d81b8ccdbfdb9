"""Output of deployments' containers, for getLogs and for queries over logs."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

from llmops_twins.azure.protocol.ids import key
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.core.fleet.cloud import Identity
from llmops_twins.core.fleet.container_logs import KEPT_LINES

SERVER, INITIALIZER = "InferenceServer", "StorageInitializer"
"""A deployment's containers, by their names in getLogs; the second fetches the model."""
_STATE = "container_lines"
Line = tuple[float, str, str]
"""The time at which a line was read, the instance, and the text."""


def put(twin: TenantTwin, whose: Identity, lines: Sequence[str], container: str = SERVER) -> None:
    """Adds lines of an instance's container; with the twin's lock."""
    kept = _all(twin).setdefault(_name(whose.endpoint_id, whose.variant, container), [])
    kept += [[time.time(), whose.id, line] for line in lines]
    del kept[:-KEPT_LINES]
    twin.changed()


def of(twin: TenantTwin, endpoint_id: str, deployment: str, container: str = SERVER) -> list[str]:
    """Returns the texts of a deployment's lines, oldest first; with the twin's lock."""
    return [text for _, _, text in _all(twin).get(_name(endpoint_id, deployment, container), [])]


def every(twin: TenantTwin) -> Iterator[tuple[str, str, Line]]:
    """Yields all lines of servers, as (endpoint's id and deployment's name in lower case, line); with the twin's
    lock.
    """
    for name, kept in _all(twin).items():
        endpoint, _, rest = name.rpartition("/deployments/")
        deployment, _, container = rest.partition("/")
        if container != SERVER:
            continue
        for line in kept:
            yield endpoint, deployment, tuple(line)


def forget(twin: TenantTwin, endpoint_id: str, deployment: str) -> None:
    """Drops a deleted deployment's lines. On Azure, copies stay in Log Analytics."""
    for container in (SERVER, INITIALIZER):
        _all(twin).pop(_name(endpoint_id, deployment, container), None)
    twin.changed()


def _all(twin: TenantTwin) -> dict[str, Any]:
    return twin.state.setdefault(_STATE, {})


def _name(endpoint_id: str, deployment: str, container: str) -> str:
    return f"{key(endpoint_id)}/deployments/{deployment.lower()}/{container}"
