"""A stand-in for Azure Resource Manager in this process: one endpoint, its deployments, their metrics and logs."""

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from llmops_kit.clouds.azure.arm import ResourceManager
from llmops_kit.clouds.azure.location import AzureCaller
from llmops_kit.clouds.azure.session import AzureSession, open_session
from llmops_kit.core.errors import KitError

WORKSPACE = (
    "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/g"
    "/providers/Microsoft.MachineLearningServices/workspaces/w"
)
ENDPOINT = f"{WORKSPACE}/onlineEndpoints/chat"
PLACE = {"subscription": "11111111-2222-3333-4444-555555555555", "tenant": "t", "location": "westeurope"}
READ_ONLY = ("provisioningState", "scoringUri", "swaggerUri")


@dataclass
class InProcessArm:
    """What is there, and what was asked. `says` answers metrics: deployment -> {(status, model status): count}."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    traffic: list[dict[str, int]] = field(default_factory=list)
    mirrors: list[dict[str, int]] = field(default_factory=list)
    says: dict[str, dict[tuple[str, str], int]] = field(default_factory=dict)
    latency_ms: dict[str, float] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    periods: dict[str, str] = field(default_factory=dict)
    """Deployment -> since when its requests were last asked for."""

    def call(
        self, method: str, id_: str, _api_version: str, *, body: dict[str, Any] | None = None, **_: Any
    ) -> dict[str, Any] | None:
        """In place of ResourceManager's."""
        path = urlsplit(id_).path
        self.calls.append((method, path.rpartition("/")[2]))
        if path.endswith("/metrics"):
            return self._metrics({k: v[0] for k, v in parse_qs(urlsplit(id_).query).items()})
        if path.endswith("/getLogs"):
            return {"content": self.logs.get(path.split("/")[-2], "")}
        if method == "PUT" and not path.startswith(ENDPOINT):
            assert body is not None
            self.documents[path] = json.loads(json.dumps(body))
            return self.documents[path]
        if method == "PUT":
            assert body is not None
            return self._put(path, json.loads(json.dumps(body)))
        if method == "DELETE":
            if self.weights.get(path.rpartition("/")[2]):
                raise KitError("Azure refused: it has traffic")
            return self.documents.pop(path, None)
        return self.documents.get(path)

    def deploy(self, name: str, **other: Any) -> None:
        """Make a deployment."""
        state = other.pop("state", "Succeeded")
        self.documents[f"{ENDPOINT}/deployments/{name}"] = {
            "sku": {"name": "Default", "capacity": other.pop("capacity", 1)},
            "tags": other.pop("tags", {}),
            "properties": {"provisioningState": state, **other},
        }

    def endpoint(self, traffic: dict[str, int] | None = None, **tags: str) -> None:
        """Make the endpoint."""
        self.documents[ENDPOINT] = {
            "location": "westeurope",
            "tags": tags,
            "kind": "Managed",
            "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/i": {"clientId": "c"}}},
            "properties": {
                "authMode": "AADToken",
                "provisioningState": "Succeeded",
                "scoringUri": "https://chat/score",
                "traffic": traffic or {},
            },
        }

    @property
    def weights(self) -> dict[str, int]:
        """Live ones."""
        found = self.documents.get(ENDPOINT, {}).get("properties", {}).get("traffic") or {}
        return {name: percent for name, percent in found.items() if percent}

    @property
    def tags(self) -> dict[str, str]:
        """Of the endpoint."""
        return self.documents[ENDPOINT]["tags"]

    def _put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert not set(READ_ONLY) & set(body["properties"]), "read-only members were sent"
        assert all(not each for each in body["identity"]["userAssignedIdentities"].values())
        wanted = body["properties"]["traffic"]
        if sum(wanted.values()) not in (0, 100):
            raise KitError("Azure refused: traffic must be 0 or 100 in all")
        if missing := [n for n in wanted if f"{path}/deployments/{n}" not in self.documents]:
            raise KitError(f"Azure refused: there is no deployment {missing}")
        self.traffic.append(wanted)
        self.mirrors.append(body["properties"].get("mirrorTraffic") or {})
        self.documents[path] = body | {"properties": body["properties"] | {"provisioningState": "Succeeded"}}
        return self.documents[path]

    def _metrics(self, query: dict[str, str]) -> dict[str, Any]:
        match = re.match(r"deployment eq '([^']+)'", query["$filter"])
        assert match
        name = match[1]
        if query["metricnames"] == "RequestsPerMinute":
            self.periods[name] = query["timespan"].partition("/")[0]
            series = [
                _series({"deployment": name, "statuscode": status, "modelstatuscode": model}, float(number))
                for (status, model), number in self.says.get(name, {}).items()
            ]
        else:
            series = [_series({"deployment": name}, self.latency_ms[name])] if name in self.latency_ms else []
        series = series[: int(query.get("top", 10))]  # https://learn.microsoft.com/rest/api/monitor/metrics/list
        return {"value": [{"name": {"value": query["metricnames"]}, "timeseries": series}]}


def _series(dimensions: dict[str, str], average: float) -> dict[str, Any]:
    metadata = [{"name": {"value": name}, "value": value} for name, value in dimensions.items()]
    data = [{"timeStamp": "2026-11-26T00:00:00Z"}, {"timeStamp": "2026-11-26T00:01:00Z", "average": average}]
    return {"metadatavalues": metadata, "data": data}


class Container:
    """A blob container in this process, in place of AzureContainer."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    def write(self, key: str, data: bytes) -> None:
        self.blobs[key] = data

    def create(self, key: str, data: bytes) -> bool:
        if key in self.blobs:
            return False
        self.blobs[key] = data
        return True

    def count(self, folder: str) -> int:
        return len(self.names(f"{folder}/"))

    def names(self, prefix: str) -> list[str]:
        return [name for name in self.blobs if name.startswith(prefix)]

    def remove(self, key: str) -> None:
        self.blobs.pop(key, None)


def patch_session(patch: pytest.MonkeyPatch, found: InProcessArm, object_id: str = "somebody") -> None:
    """Have every session lead to this stand-in, as a caller of the stack's tenant."""
    patch.setattr(ResourceManager, "_call", found.call)
    patch.setattr(AzureSession, "credential", None)
    patch.setattr(AzureSession, "caller", AzureCaller(PLACE["tenant"], object_id, "User"))
    open_session.cache_clear()
