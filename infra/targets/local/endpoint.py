"""Endpoints on this machine: a resource for each promoted model version, behind hosting's supervisor and router."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi import dynamic

from contract.layout import model_key
from infra import names
from infra.targets.local.identity import make_api_key
from infra.targets.local.images import Image
from infra.targets.local.provider import GONE, LocalProvider, Properties, inputs_of, say

if TYPE_CHECKING:
    from hosting.host import Host
    from infra.settings import Endpoint as EndpointSettings

RUNNING, OFF, STOPPED = "running", "off", "stopped"


class HostingProvider(LocalProvider):
    """Names the endpoints that may exist, before any of them does.

    So an endpoint that an interrupted update left behind is found again: taking its entry away changes this list.
    """

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Idempotent; also stops what an earlier, interrupted update left."""
        _keep_only(props)
        return dynamic.CreateResult(props["home"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Stop what is no longer listed; all of it, if the home is another one now."""
        if _olds["home"] != _news["home"]:
            _host(_olds).shutdown()
        _keep_only(_news)
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Stop everything, the supervisor too."""
        _host(_props).shutdown()


class Hosting(dynamic.Resource, module="llmops", name="Hosting"):
    """Outputs: home (a folder), endpoints (names)."""

    home: pulumi.Output[str]

    def __init__(self, home: names.StackHome, endpoints: Iterable[str]) -> None:
        props: dict[str, Any] = {"home": str(home.hosting), "endpoints": sorted(endpoints)}
        super().__init__(HostingProvider(), names.HOSTING, props)


class EndpointProvider(LocalProvider):
    """Brings an endpoint to what its properties say; hosting replaces only what differs, without losing a request."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Idempotent: an endpoint of this name in this home is taken over."""
        return dynamic.CreateResult(props["endpoint"], _apply(props))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """What is live: gone, or stopped when its supervisor is; then the next update starts it again."""
        status = _live_status(props)
        if status == "":
            return GONE
        # The status is an input too: so a preview after this shows `stopped => running`.
        found = inputs_of(props) | {"status": status}
        return dynamic.ReadResult(id_, found, {k: v for k, v in found.items() if k != "url"})

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """In place, by the endpoint's rollout."""
        return dynamic.UpdateResult(_apply(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Stop it, and forget its port and API key."""
        _host(_props).remove(_props["endpoint"])
        Path(_props["key_file"]).unlink(missing_ok=True)


class Endpoint(dynamic.Resource, module="llmops", name="Endpoint"):
    """Outputs: url (empty while off), and what it was made from."""

    url: pulumi.Output[str]

    def __init__(
        self,
        name: str,
        settings: "EndpointSettings",
        home: names.StackHome,
        *,
        image: Image,
        runtime: str,
        after: Sequence[pulumi.Resource],
    ) -> None:
        """Declare it.

        Args:
            name: the entry in the settings.
            settings: the entry.
            home: where the stack keeps everything.
            image: what serves it.
            runtime: process or docker.
            after: other resources that must be there first.
        """
        props = _properties(name, settings, home, image.known_reference, runtime)
        options = pulumi.ResourceOptions(depends_on=[image, *after])
        super().__init__(EndpointProvider(), names.endpoint(name), props, options)


def _properties(name: str, settings: "EndpointSettings", home: names.StackHome, image: str, runtime: str) -> Properties:
    """Inputs, readable in a preview; each of them is acted on."""
    version = settings.version
    return {
        "endpoint": name,
        "model": version.alias,
        "sha256": version.sha256,
        "folder": str(home.store / model_key(version.sha256)),
        "image": image,
        "runtime": runtime,
        "precision": settings.precision,
        "instances": settings.size.instances,
        "port": settings.port,
        "rollout": settings.rollout.model_dump(),
        "status": RUNNING if settings.endpoint else OFF,
        "home": str(home.hosting),
        "key_file": str(home.api_key(name)),
        "public_key_file": str(home.public_key),
        "url": None,
    }


def _host(props: Properties) -> "Host":
    from hosting.host import Host

    return Host(Path(props["home"]))


def _keep_only(props: Properties) -> None:
    host = _host(props)
    for name in host.list():
        if name not in props["endpoints"]:
            say(f"endpoint {name}: left by an interrupted update, or no longer in the settings; removing it")
            host.remove(name)


def _apply(props: Properties) -> Properties:
    make_api_key(Path(props["key_file"]))
    raise NotImplementedError


def _live_status(props: Properties) -> str:
    raise NotImplementedError
