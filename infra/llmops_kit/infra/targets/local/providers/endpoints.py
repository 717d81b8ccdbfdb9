"""Endpoints on this machine: a resource for each promoted model version, behind the local runtime's supervisor and
router.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pulumi import dynamic

from llmops_kit.core.integrity.stack_homes import home_of, home_of_hosting
from llmops_kit.core.network.api_key import ISSUED_KEYS, issued_keys_file, make_api_key, make_issued_keys
from llmops_kit.infra.targets.dynamic import KitProvider, Properties, gone, inputs_of, say
from llmops_kit.infra.targets.local.providers.home import claim, is_there, remove_file, remove_folder

if TYPE_CHECKING:
    from llmops_kit.local_runtime.host import Host
    from llmops_kit.local_runtime.spec import EndpointSpec

RUNNING, OFF, STOPPED = "running", "off", "stopped"


class HostingProvider(KitProvider):
    """Lists the endpoints that may exist, before any of them is created.

    So an endpoint that an interrupted update left behind is found: removing its entry changes this list.
    """

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Stops what an earlier, interrupted update left; idempotent."""
        _keep_only(props)
        return dynamic.CreateResult(props["home"], inputs_of(props))

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Stops endpoints that are no longer listed; all of them, if the home has changed."""
        if _olds["home"] != _news["home"] and (old := _existing_host(_olds)):
            old.shutdown()
        _keep_only(_news)
        return dynamic.UpdateResult(inputs_of(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Stops all endpoints and the supervisor."""
        if host := _existing_host(_props):
            host.shutdown()


class EndpointProvider(KitProvider):
    """Makes an endpoint match its properties; the local runtime replaces only what differs, and loses no request."""

    def create(self, props: Properties) -> dynamic.CreateResult:
        """Applies the endpoint; idempotent: adopts one of this name in this home."""
        return dynamic.CreateResult(props["endpoint"], _apply(props))

    def read(self, id_: str, props: Properties) -> dynamic.ReadResult:
        """Reads the live state: gone, stopped if its supervisor is, or another version than was declared."""
        live = _live(props)
        if live is None:
            return gone()
        # As inputs too, so that a preview after a refresh shows the next update's changes (stopped => running).
        found = inputs_of(props) | live
        return dynamic.ReadResult(id_, found, {k: v for k, v in found.items() if k != "url"})

    def update(self, _id: str, _olds: Properties, _news: Properties) -> dynamic.UpdateResult:
        """Updates in place, by the endpoint's rollout."""
        if _olds["home"] != _news["home"]:
            _remove(_olds)
        return dynamic.UpdateResult(_apply(_news))

    def delete(self, _id: str, _props: Properties) -> None:
        """Stops it, and forgets its port and API keys."""
        home, key = _remove(_props)
        name = _props["endpoint"]
        remove_file(home, *key)
        remove_file(home, "keys", name, ISSUED_KEYS)
        remove_folder(home, "keys", name)


def _remove(props: Properties) -> tuple[Path, tuple[str, str]]:
    """Stops a recorded endpoint and deletes its folder; returns the home of its API key, and the key's path there.

    Raises:
        KitError: its folder is not this project's, or its name is not that of its key's file.
    """
    name = props["endpoint"]
    key = ("keys", f"{name}.key")
    home = home_of(props["key_file"], *key)  # a name that is a path has no such file
    if host := _existing_host(props):
        host.remove(name)
    return home, key


def _existing_host(props: Properties) -> Host | None:
    """Returns the host of a recorded resource; None if its folder is gone, and nothing is left to do.

    Raises:
        KitError: its folder is not this project's.
    """
    return _host(props) if is_there(home_of_hosting(props["home"])) else None


def _host(props: Properties) -> Host:
    from llmops_kit.local_runtime.host import Host

    return Host(Path(props["home"]))


def _keep_only(props: Properties) -> None:
    claim(home_of_hosting(props["home"]))
    host = _host(props)
    for state in host.list():
        if state.name not in props["endpoints"]:
            say(f"removing endpoint {state.name}, which is not (or no longer) in the settings")
            host.remove(state.name)


def _apply(props: Properties) -> Properties:
    """Makes the endpoint match its properties, and returns them with its address."""
    claim(home_of_hosting(props["home"]))
    make_api_key(Path(props["key_file"]))
    make_issued_keys(issued_keys_file(Path(props["key_file"])))
    host = _host(props)
    if props["status"] == RUNNING:
        return inputs_of(props) | {"url": host.apply(_spec(props), say).url}
    if props["endpoint"] in _names(host):
        host.stop(props["endpoint"])
    return inputs_of(props) | {"url": ""}


def _live(props: Properties) -> Properties | None:
    """Returns the live status, URL, version and instance count, empty if the endpoint is off as declared; None if the
    endpoint is missing.
    """
    host, name = _existing_host(props), props["endpoint"]
    if host is None or name not in _names(host):
        return {} if props["status"] == OFF else None
    state = host.state(name)
    if not state.on:
        return {"status": OFF, "url": ""}
    live: Properties = {"status": RUNNING if host.alive() else STOPPED, "url": state.url}
    if state.spec:
        live["sha256"] = state.spec.environ["LLMOPS_MODEL_SHA256"]
        live["instances"] = state.spec.instances
    return live


def _names(host: Host) -> set[str]:
    return {state.name for state in host.list()}


def _spec(props: Properties) -> EndpointSpec:
    from llmops_kit.core.engines.engine_settings import EngineSettings
    from llmops_kit.core.limits import API_KEYS_FILE
    from llmops_kit.local_runtime.model_endpoint import ServedVersion, endpoint_spec

    version = ServedVersion(Path(props["folder"]), Path(props["public_key_file"]), props["model"], props["sha256"])
    own, name = Path(props["key_file"]), props["endpoint"]
    key_files = {API_KEYS_FILE: issued_keys_file(own)} | {v: Path(path) for v, path in props["key_files"].items()}
    return endpoint_spec(
        version,
        name=name,
        image=props["image"],
        key_file=own,
        engine=props["engine"],
        settings=EngineSettings.model_validate({field: props[field] for field in EngineSettings.model_fields}),
        limits=props["limits"],
        memory_mb=int(props.get("memory_mb") or 0),
        key_files=key_files,
        usage_folder=Path(props["home"]) / "endpoints" / name / "usage",
        **{key: props[key] for key in ("instances", "port", "rollout")},
    )
