"""The twin of an Azure subscription as its services and judges see it: kinds, actions, documents, permissions.

Denials have the messages of https://learn.microsoft.com/azure/role-based-access-control/troubleshooting.
"""

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from llmops_kit.core.twins import TWIN_SUBSCRIPTION, TWIN_TENANT
from llmops_kit.local_runtime.ports import choose_port
from llmops_twins.azure.container_host import Running
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import ArmCall, Document, Principal, Reply
from llmops_twins.azure.protocol.ids import Id, key
from llmops_twins.azure.protocol.kinds import ResourceKind
from llmops_twins.core.twin import BaseTwin, TwinSettings

Action = Callable[["TenantTwin", ArmCall, Any], Reply | Document]
NO_ATTRIBUTES: Mapping[str, str] = MappingProxyType({})
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class TenantTwin(BaseTwin):
    """A subscription. Services and judges register their parts here.

    Kinds' functions, actions, ticks and timers run one at a time, with `lock` held. `state` is JSON; resources are in
    `state["resources"]` by their id in lower case.
    """

    running: Running
    """Runs deployments and jobs; set by ml/provider.py, and by tests."""

    def __init__(self, home: Path, settings: TwinSettings | None = None, url: str = "https://localhost:1") -> None:
        super().__init__(home, settings)
        self.subscription = TWIN_SUBSCRIPTION
        self.tenant = TWIN_TENANT
        self.url = url
        self.kinds: dict[str, ResourceKind] = {}
        self.data_planes: dict[str, Wsgi] = {}
        self.listen: Callable[[str, Wsgi, bool], str] | None = None  # set by the serving process, like `unlisten`
        self.unlisten: Callable[[str], None] | None = None
        self.restorers: list[Callable[[], None]] = []  # called after a snapshot replaced the state
        self.around: Callable[[str, Wsgi], Wsgi] = lambda service, app: app  # set by faults
        self.resumers: list[Callable[[], None]] = []  # called after the state of an earlier process was loaded
        self.instances: Callable[[], list[Any]] = list  # the running instances, for `status`
        # (object id, action, scope, data, attributes of the request, for conditions)
        self.judge_of_roles: Callable[[str, str, str, bool, Mapping[str, str]], bool] | None = None
        self.judges: list[Callable[[ArmCall, Id], None]] = []  # may refuse an ARM call that the roles allow
        self._verbs: dict[tuple[str, str, str], tuple[Action, str | None]] = {}
        self._routes: list[tuple[str, Wsgi]] = []
        self._ports: dict[str, str] = {}

    def kind(self, kind: ResourceKind) -> None:
        """Registers a type of resource."""
        self.kinds[kind.type.lower()] = kind

    def action(self, type_: str, verb: str, handler: Action, permission: str | None = "", method: str = "POST") -> None:
        """Registers `handler(twin, call, document)` for `POST {id}/{verb}` (or GET of a collection without a kind). The
        document is the resource's; None if no kind has `type_` ("Microsoft.KeyVault", "…/locations"). A result that is
        not a Reply is answered with 200. `permission` is the required action; by default `{type}/{verb}/action`
        (`/read`); None requires none.
        """
        if permission == "":
            permission = f"{type_}/{verb}/{'read' if method == 'GET' else 'action'}"
        self._verbs[type_.lower(), verb.lower(), method] = handler, permission

    def verb(self, type_: str, verb: str, method: str) -> tuple[Action, str | None] | None:
        """Returns the handler of an action, and the permission that it needs."""
        return self._verbs.get((type_.lower(), verb.lower(), method))

    def route(self, prefix: str, app: Wsgi) -> None:
        """Registers `app` for all requests of the main port below a path ("/history/v1.0/"). Permissions are not
        checked (`llmops_twins.azure.entra.tokens.caller_of` returns the caller), the body is unread, the lock is not
        held.
        """
        self._routes.append((prefix.lower(), app))
        self._routes.sort(key=lambda route: -len(route[0]))

    def routed(self, path: str) -> Wsgi | None:
        """Returns the application that answers a path instead of ARM."""
        return next((app for prefix, app in self._routes if path.lower().startswith(prefix)), None)

    def data_plane(self, name: str, app: Wsgi, tls: bool = True) -> str:
        """Returns the address (https://localhost:PORT) of a host for `app`; its port is kept by name over restarts. The
        same name again replaces the app. Without `tls` it is http://localhost:PORT, for Docker. The part of the name
        before a slash ("vault/mine") is its service for faults.
        """
        self.data_planes[name] = self.around(re.split("[/ ]", name)[0], app)
        if self.listen:
            return self.listen(name, self.data_planes[name], tls)
        scheme = "https" if tls else "http"
        return self._ports.setdefault(name, f"{scheme}://localhost:{choose_port('127.0.0.1')}")

    def end_data_plane(self, name: str) -> None:
        """Stops the host at that address."""
        self.data_planes.pop(name, None)
        if self.unlisten:
            self.unlisten(name)

    @property
    def subscriptions(self) -> list[str]:
        """Ids of the tenant's subscriptions: the twin's own first, then added ones, in lower case."""
        return [self.subscription, *self.state.get("subscriptions", [])]

    def resume(self) -> None:
        """Continues what an earlier process started. Called after the state is loaded and before any request is
        served.
        """
        for resume in self.resumers:
            resume()

    @property
    def resources(self) -> dict[str, Document]:
        """All resources by id in lower case."""
        return self.state.setdefault("resources", {})

    def find(self, resource_id: str) -> Document | None:
        """Returns a resource by its id; None if it does not exist."""
        return self.resources.get(key(resource_id))

    def children(self, resource_id: str, type_: str = "") -> list[Document]:
        """Returns everything in or on a resource, group or subscription, at any depth; of one type if given."""
        prefix = key(resource_id).rstrip("/") + "/"
        found = [document for each, document in self.resources.items() if each.startswith(prefix)]
        return [d for d in found if not type_ or d["type"].lower() == type_.lower()]

    def keep(self, document: Document) -> None:
        """Stores a document under its `id`; fills in name and type if missing."""
        parsed = Id.parse(document["id"])
        document.setdefault("name", parsed.name)
        document.setdefault("type", parsed.type)
        with self.lock:
            self.resources[key(document["id"])] = document
            self.changed()

    def drop(self, resource_id: str) -> None:
        """Deletes a resource and everything in it or on it."""
        with self.lock:
            there = self.find(resource_id)
            for document in [*reversed(self.children(resource_id)), *([there] if there else [])]:
                kind = self.kinds.get(document["type"].lower())
                if kind and kind.outlives and document is not there:
                    continue
                self.resources.pop(key(document["id"]), None)
                if kind and kind.gone:
                    kind.gone(self, document)
            self.changed()

    def shown(self, document: Document) -> Document:
        """Returns a document in the form that GET answers."""
        kind = self.kinds.get(document["type"].lower())
        public = copy.deepcopy({name: value for name, value in document.items() if not name.startswith("_")})
        return kind.show(self, public) if kind and kind.show else public

    def may(
        self, object_id: str, action: str, scope: str, data: bool = False, attributes: Mapping[str, str] = NO_ATTRIBUTES
    ) -> bool:
        """Returns whether the roles of a principal allow an action (`data`: a data action) on a scope, and records it.

        `attributes` are those that conditions of assignments may use (llmops_twins.azure.judges.conditions).
        """
        if not object_id or self.settings.judge == "off" or self.judge_of_roles is None:
            return True
        denied = [object_id, action] in self.state.get("denied", [])
        allowed = not denied and self.judge_of_roles(object_id, action, scope, data, attributes)
        self.record(object_id, action, scope, allowed)
        return allowed

    def require(
        self,
        who: ArmCall | Principal,
        action: str,
        scope: str,
        data: bool = False,
        attributes: Mapping[str, str] = NO_ATTRIBUTES,
    ) -> None:
        """Refuses an action that the roles of a principal do not allow.

        Raises:
            ArmError: 403 AuthorizationFailed.
        """
        caller = who.caller if isinstance(who, ArmCall) else who
        if not self.may(caller.object_id, action, scope, data, attributes):
            raise ArmError(
                403,
                "AuthorizationFailed",
                f"The client '{caller.app_id}' with object id '{caller.object_id}' does not have authorization to "
                f"perform action '{action}' over scope '{scope}' or the scope is invalid. If access was recently "
                "granted, please refresh your credentials.",
            )

    def reset(self) -> None:
        """Empties the subscription."""
        with self.lock:
            for document in list(self.resources.values()):
                self.drop(document["id"])
            self.state.clear()
            self.seed()

    def take_over(self, load: Callable[[], object]) -> None:
        """Replaces the state by a snapshot's. Resources in both states keep their hosts, and so their addresses."""
        now, self.state = self.state, {}
        load()
        kept, self.state = self.state, now
        for name, document in list(self.resources.items()):
            if name not in kept["resources"]:
                self.drop(document["id"])
        garbage = self.state.get("blob_garbage", [])
        self.state.clear()
        self.state.update(kept, blob_garbage=garbage)
        for restored in (*self.restorers, *self.resumers):
            restored()
        self.tell()
