"""Endpoints: one resource that lists all of them, and one for each endpoint."""

from collections.abc import Iterable, Sequence
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
from llmops_kit.infra.targets.local.values import LocalEndpointValues


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
        values: LocalEndpointValues,
        home: resource_names.StackHome,
        *,
        image: Image,
        after: Sequence[pulumi.Resource],
        parent: pulumi.Resource,
    ) -> None:
        """Declare it.

        Args:
            values: its resolved settings, and what was looked up for them.
            home: where the stack keeps everything.
            image: what serves it.
            after: other resources that must be there first.
            parent: its component.
        """
        props = _properties(values, home, image)
        options = pulumi.ResourceOptions(parent=parent, depends_on=[image, *after])
        super().__init__(EndpointProvider(), resource_names.endpoint(values.resolved.name), props, options)


def _properties(values: LocalEndpointValues, home: resource_names.StackHome, image: Image) -> Properties:
    """Returns the inputs, readable in a preview; each has an effect."""
    endpoint = values.resolved
    settings, version = endpoint.entry, endpoint.entry.version
    return {
        "endpoint": endpoint.name,
        "model": version.alias,
        "sha256": version.sha256,
        "folder": str(home.store / model_key(version.sha256)),
        "image": image.stated,
        "engine": endpoint.engine,
        **engine_fields(settings),
        "limits": limit_variables(settings.limits),
        "memory_mb": settings.limits.memory_mb or None,  # None is equal to what older kits recorded
        "instances": settings.size.instances,
        "port": settings.port,
        "rollout": values.rollout.model_dump(exclude_unset=True),
        "status": RUNNING if settings.endpoint else OFF,
        "home": str(home.hosting),
        "key_file": str(home.api_key(endpoint.name)),
        "public_key_file": str(home.public_key),
        "key_files": dict(values.key_files),
        "url": None,
    }
