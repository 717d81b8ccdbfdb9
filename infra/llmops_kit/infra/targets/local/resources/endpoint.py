"""Endpoints: one resource that lists all of them, and one for each endpoint."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pulumi
from pulumi import dynamic

from llmops_kit.core.engines.engine_settings import engine_fields
from llmops_kit.core.layout import model_key
from llmops_kit.core.limits import limit_variables
from llmops_kit.infra import resource_names
from llmops_kit.infra.targets.dynamic import Properties
from llmops_kit.infra.targets.local.providers.endpoints import OFF, RUNNING, EndpointProvider, HostingProvider
from llmops_kit.infra.targets.local.resources.images import Image
from llmops_kit.local_runtime.spec import VariantRollout
from llmops_kit.settings.stack_settings import Endpoint as EndpointSettings


class Hosting(dynamic.Resource, module="llmops", name="Hosting"):
    """Outputs: home (a folder), endpoints (names)."""

    home: pulumi.Output[str]

    def __init__(
        self,
        home: resource_names.StackHome,
        endpoints: Iterable[str],
        prefix: str = "",
        parent: pulumi.Resource | None = None,
    ) -> None:
        props: dict[str, Any] = {"home": str(home.hosting), "endpoints": sorted(endpoints)}
        super().__init__(
            HostingProvider(), prefix + resource_names.HOSTING, props, pulumi.ResourceOptions(parent=parent)
        )


class LocalEndpoint(dynamic.Resource, module="llmops", name="Endpoint"):
    """Outputs: url (empty while off), and the inputs."""

    url: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        settings: EndpointSettings,
        home: resource_names.StackHome,
        *,
        image: Image,
        key_files: Mapping[str, str],
        after: Sequence[pulumi.Resource],
        parent: pulumi.Resource,
    ) -> None:
        """Declare it.

        Args:
            name: the entry in the settings.
            settings: the entry.
            home: the stack's folders.
            image: of the server.
            key_files: variable -> file on this machine, from `limits`.
            after: other resources that must exist first.
            parent: its component.
        """
        props = _properties(name, settings, home, image) | {"key_files": dict(key_files)}
        options = pulumi.ResourceOptions(parent=parent, depends_on=[image, *after])
        super().__init__(EndpointProvider(), resource_names.endpoint(name), props, options)


def _properties(name: str, settings: EndpointSettings, home: resource_names.StackHome, image: Image) -> Properties:
    """Returns the inputs, readable in a preview; each has an effect."""
    version = settings.version
    return {
        "endpoint": name,
        "model": version.alias,
        "sha256": version.sha256,
        "folder": str(home.store / model_key(version.sha256)),
        "image": image.stated,
        "engine": "vllm" if image.name == "serving-vllm" else settings.engine,
        **engine_fields(settings),
        "limits": limit_variables(settings.limits),
        "instances": settings.size.instances,
        "port": settings.port,
        "rollout": _rollout(settings),
        "status": RUNNING if settings.endpoint else OFF,
        "home": str(home.hosting),
        "key_file": str(home.api_key(name)),
        "public_key_file": str(home.public_key),
        "url": None,
    }


def _rollout(settings: EndpointSettings) -> Properties:
    """Returns the rollout settings that the local runtime supports; the target has refused all others."""
    rollout = settings.rollout
    if rollout.strategy != "canary":
        return {"strategy": rollout.strategy}
    shared = type(rollout).model_fields.keys() & VariantRollout.model_fields
    return VariantRollout.model_validate(rollout.model_dump(include=shared)).model_dump(include=shared)
