"""Versions that an endpoint on Azure Machine Learning serves, from its live deployments; and its traffic.

https://learn.microsoft.com/rest/api/azureml/online-endpoints
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from llmops_kit.cli.interfaces.platform import Live
from llmops_kit.clouds.azure.arm import Document, ResourceManager
from llmops_kit.clouds.azure.endpoint_documents import instances_of, owner_of, state_of, traffic_of, with_traffic
from llmops_kit.clouds.azure.names import MODEL_SHA256
from llmops_kit.core.errors import KitError
from llmops_kit.core.layout import model_key

_SETTLED = "Succeeded"


def look(arm: ResourceManager, endpoint: str, image: str) -> Live:
    """Returns the state of an endpoint and its deployments, with the versions that they load.

    Args:
        arm: Azure Resource Manager.
        endpoint: its resource id.
        image: the image that was deployed; another one is drift.
    """
    found = arm.find(endpoint)
    if found is None:
        return Live(ready=False, problem="there is no such endpoint on Azure ML: it was taken down or deleted")
    deployments = list(arm.list(f"{endpoint}/deployments"))
    traffic = traffic_of(found)
    loaded = {d["name"]: _sha256(d) for d in deployments}
    shares: dict[str, float] = {}
    for name, percent in traffic.items():
        if loaded.get(name):
            shares[loaded[name]] = shares.get(loaded[name], 0.0) + percent / 100
    for sha256 in loaded.values():
        if sha256:
            shares.setdefault(sha256, 0.0)
    serving = [d for d in deployments if traffic.get(d["name"])]
    problems = [*_state("", found), *(p for d in serving for p in _problems(arm, d))]
    if not serving:
        problems.append("no deployment gets requests")
    return Live(
        ready=not problems,
        models=shares,
        workers=sum(instances_of(d) for d in serving),
        problem="; ".join(problems),
        drift=tuple(drift for d in serving for drift in _drift(arm, d, image)),
        changed=_changed(found),
    )


def set_traffic(arm: ResourceManager, endpoint: str, shares: Mapping[str, float]) -> None:
    """Shares an endpoint's traffic between the versions that it has loaded, and changes nothing else.

    A PUT replaces the whole endpoint, and without traffic it removes the traffic, so all writable properties are read
    and written again.

    Args:
        arm: Azure Resource Manager.
        endpoint: its resource id.
        shares: identity (sha256) -> 0 to 1; all together 1.

    Raises:
        KitError: it has not loaded a version, the shares are not 1 in all, or a rollout owns the weights.
    """
    live, name = arm.get(endpoint), f"endpoint {endpoint.rpartition('/')[2]}"
    owner = owner_of(live)
    if owner and owner.until > datetime.now(UTC):
        raise KitError(
            f"{owner.by} is rolling out {owner.deployment} until {owner.until:%H:%M} UTC, and owns its weights",
            where=name,
            fix="wait until it ends",
        )
    by_model = {_sha256(d): d["name"] for d in arm.list(f"{endpoint}/deployments")}
    if unknown := shares.keys() - by_model.keys():
        raise KitError(
            f"has not loaded sha256:{next(iter(unknown))[:12]}…",
            where=name,
            fix="promote the version, then `llmops up`",
        )
    traffic = {by_model[sha256]: round(100 * share) for sha256, share in shares.items()}
    if sum(traffic.values()) != 100:
        raise KitError(
            f"would share {sum(traffic.values())} % of its requests", where=name, fix="write shares of 100 % in all"
        )
    arm.put(endpoint, with_traffic(live, traffic))


def _problems(arm: ResourceManager, deployment: Document) -> list[str]:
    found = _state(f"deployment {deployment['name']} ", deployment)
    sha256, model = _sha256(deployment), deployment["properties"].get("model") or ""
    if not sha256 or not model.startswith("/"):
        return found
    version = arm.find(model)
    if version is None:
        return [*found, f"its model {model.rpartition('/models/')[2]} was deleted"]
    path = str(version["properties"].get("modelUri") or "").rstrip("/")
    if path and not path.endswith(f"/{model_key(sha256)}"):
        found.append(f"deployment {deployment['name']} says {sha256[:12]} and loads {path}")
    return found


def _state(what: str, document: Document) -> list[str]:
    state = state_of(document)
    return [] if state == _SETTLED else [f"{what}{state}"]


def _drift(arm: ResourceManager, deployment: Document, image: str) -> list[str]:
    environment = deployment["properties"].get("environmentId") or ""
    found = (arm.find(environment) or {}).get("properties", {}).get("image", "") if environment else ""
    return [f"image {found} instead of {image}"] if found and image and found != image else []


def _sha256(deployment: Document) -> str:
    return str((deployment["properties"].get("environmentVariables") or {}).get(MODEL_SHA256, ""))


def _changed(endpoint: Document) -> float:
    """Returns when the endpoint last changed, in seconds since 1970; 0 if Azure does not say."""
    text = str((endpoint.get("systemData") or {}).get("lastModifiedAt") or "")
    if not text:
        return 0.0
    return datetime.fromisoformat(f"{text[:19]}+00:00").timestamp()
