"""The host of a key vault: challenge, token, the caller's roles, then keys and secrets.

https://learn.microsoft.com/rest/api/keyvault/keys/operation-groups
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode

from werkzeug.wrappers import Request

from llmops_twins.azure.entra import tokens
from llmops_twins.azure.protocol.arm_errors import ArmError
from llmops_twins.azure.protocol.calls import Document, Principal, Reply
from llmops_twins.azure.replies import answer, read_json
from llmops_twins.azure.twin import TenantTwin
from llmops_twins.azure.vault import keys, vault, vault_documents
from llmops_twins.azure.vault.vault import VaultContents, VaultError

_NAME = re.compile(r"[0-9a-zA-Z-]{1,127}")
_MOST_SECRET_BYTES = 25_600
_PAGE = 25
"""Maximum and default number of items in a page of a list."""
_USES = {
    "sign": "sign",
    "verify": "verify",
    "encrypt": "encrypt",
    "decrypt": "decrypt",
    "wrapkey": "wrapKey",
    "unwrapkey": "unwrapKey",
}
_ACTIONS = {"wrapkey": "wrap", "unwrapkey": "unwrap"}
# Method, sort and verb -> the operation, and its data action below vaults/SORT/.
_OPERATIONS = {
    ("POST", "keys", "create"): ("create", "create/action"),
    ("PUT", "secrets", ""): ("set", "setSecret/action"),
    ("GET", "keys", ""): ("get", "read"),
    ("GET", "secrets", ""): ("get", "getSecret/action"),
    ("PATCH", "keys", ""): ("update", "update/action"),
    ("PATCH", "secrets", ""): ("update", "update/action"),
    ("GET", "keys", "versions"): ("versions", "read"),
    ("GET", "secrets", "versions"): ("versions", "readMetadata/action"),
    ("DELETE", "keys", ""): ("delete", "delete"),
    ("DELETE", "secrets", ""): ("delete", "delete"),
    ("GET", "deletedkeys", ""): ("get_deleted", "read"),
    ("GET", "deletedsecrets", ""): ("get_deleted", "readMetadata/action"),
    ("POST", "deletedkeys", "recover"): ("recover", "recover/action"),
    ("POST", "deletedsecrets", "recover"): ("recover", "recover/action"),
    ("DELETE", "deletedkeys", ""): ("purge", "purge/action"),
    ("DELETE", "deletedsecrets", ""): ("purge", "purge/action"),
}
_LISTS = {"keys": "read", "secrets": "readMetadata/action"}


class VaultApp:
    """The WSGI application of one vault, by its name."""

    def __init__(self, twin: TenantTwin, name: str) -> None:
        self._twin = twin
        self._name = name

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        return answer(self._respond, environ)(environ, start_response)

    def _respond(self, request: Request) -> Reply:
        twin = self._twin
        caller = self._caller(request)
        if not request.args.get("api-version"):
            raise VaultError(400, "BadParameter", "api-version must be specified")
        body = read_json(request) or {}
        with twin.lock:
            document = vault.named(twin, self._name)
            if document is None:
                raise VaultError(404, "VaultNotFound", f"The vault {self._name} was not found.")
            address = f"https://{request.host}"
            return _page(request, _carry_out(twin, VaultContents(twin, document), caller, request, body, address))

    def _caller(self, request: Request) -> Principal:
        try:
            return tokens.caller_of(self._twin, dict(request.headers), tokens.VAULT)
        except ArmError as e:
            place = f"{self._twin.url}/{self._twin.tenant}"
            challenge = f'Bearer authorization="{place}", resource="{tokens.VAULT[0]}"'
            refused = VaultError(401, "Unauthorized", f"AKV10000: {e.message}")
            refused.headers["WWW-Authenticate"] = challenge
            raise refused from e


def _page(request: Request, reply: Reply) -> Reply:
    """Returns the requested page of a list: `maxresults` items, from 1 to 25.

    https://learn.microsoft.com/rest/api/keyvault/keys/get-keys/get-keys

    Raises:
        VaultError: 400, `maxresults` is invalid.
    """
    if not isinstance(reply.body, dict) or not isinstance(reply.body.get("value"), list):
        return reply
    given, start = request.args.get("maxresults", str(_PAGE)), request.args.get("$skiptoken", "0")
    if not given.isdecimal() or not 1 <= int(given) <= _PAGE or not start.isdecimal():
        raise VaultError(400, "BadParameter", f"The parameter maxresults is a number from 1 to {_PAGE}.")
    items, end = reply.body["value"], int(start) + int(given)
    link = None
    if len(items) > end:
        link = f"{request.base_url}?{urlencode({**request.args, '$skiptoken': str(end)})}"
    return Reply(200, {"value": items[int(start) : end], "nextLink": link})


def _carry_out(
    twin: TenantTwin, of: VaultContents, caller: Principal, request: Request, body: Document, address: str
) -> Reply:
    sort, name, version, verb = _parsed(request)
    kind: Any = sort.removeprefix("deleted")
    if not name:
        _require(twin, of, caller, f"{kind}/{_LISTS[kind]}", "")
        return Reply(200, _listed(of, sort, kind, address))
    if verb in _USES and kind == "keys":
        _require(twin, of, caller, f"keys/{_ACTIONS.get(verb, verb)}/action", f"keys/{name}")
        return Reply(200, _used(of, name, version, verb, body, address))
    operation, action = _OPERATIONS.get((request.method, sort, verb), ("", ""))
    if not operation:
        raise VaultError(405, "MethodNotAllowed", f"There is no {request.method} {request.path} on this twin of Azure.")
    _require(twin, of, caller, f"{kind}/{action}", f"{kind}/{name}")
    return _HANDLERS[operation](twin, of, kind, name, version, body, address)


def _parsed(request: Request) -> tuple[str, str, str, str]:
    """Returns the parts of a path: sort, name, version and verb.

    Raises:
        VaultError: 404 or 400, the path is invalid.
    """
    parts = request.path.strip("/").split("/")
    sort, rest = parts[0].lower(), parts[1:]
    if sort not in ("keys", "secrets", "deletedkeys", "deletedsecrets"):
        raise VaultError(404, "NotFound", f"There is no {request.path} on this twin of Azure.")
    name = rest.pop(0) if rest else ""
    if name and not _NAME.fullmatch(name):
        message = f"The request URI contains an invalid name: {name}"
        raise VaultError(400, "BadParameter", message)
    last = rest[-1].lower() if rest else ""
    verbs = (*_USES, "create", "versions", "recover")
    verb = rest.pop().lower() if last in verbs else ""
    version = rest.pop(0) if rest else ""
    return sort, name, version, verb


def _require(twin: TenantTwin, of: VaultContents, caller: Principal, action: str, below: str) -> None:
    scope = of.document["id"] + (f"/{below}" if below else "")
    full = f"Microsoft.KeyVault/vaults/{action}"
    by_roles = of.document["properties"].get("enableRbacAuthorization")
    if by_roles and twin.may(caller.object_id, full, scope, data=True):
        return
    message = (
        "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role "
        "definitions were changed recently, please observe propagation time.\r\n"
        f"Caller: appid={caller.app_id};oid={caller.object_id};iss={tokens.issuer(twin)}\r\nAction: '{full}'\r\n"
        f"Resource: '{scope}'\r\nAssignment: (not found)\r\nDenyAssignmentId: null\r\nDecisionReason: null \r\n"
        f"Vault: {of.name};location={of.document.get('location', '')}\r\n"
    )
    raise VaultError(403, "Forbidden", message, "ForbiddenByRbac" if by_roles else "AccessDenied")


def _listed(of: VaultContents, sort: str, kind: Any, address: str) -> Document:
    shown = vault_documents.Shown(of, kind, address)
    if sort.startswith("deleted"):
        return {"value": [shown.deleted_item(name) for name in sorted(of.deleted(kind))]}
    return {"value": [shown.item(name, of.get(kind, name)) for name in of.names(kind)]}


def _used(of: VaultContents, name: str, version: str, verb: str, body: Document, address: str) -> Document:
    key = of.get("keys", name, version)
    kid = f"{address}/keys/{name}/{key['version']}"
    value, digest = _decoded(body, "value"), _decoded(body, "digest")
    result = keys.use(key, _USES[verb], str(body.get("alg", "")), value, digest)
    if isinstance(result, bool):
        return {"value": result}
    return {"kid": kid, "value": base64.urlsafe_b64encode(result).rstrip(b"=").decode()}


def _decoded(body: Document, name: str) -> bytes:
    text = str(body.get(name) or "")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except binascii.Error as e:
        raise VaultError(400, "BadParameter", f"Property '{name}' is not base64url.") from e


def _create(
    twin: TenantTwin, of: VaultContents, _kind: Any, name: str, _version: str, body: Document, address: str
) -> Reply:
    attributes = vault_documents.attributes_of(body)
    premium = of.document["properties"]["sku"]["name"].lower() == "premium"
    size = int(body.get("key_size") or 0)
    curve = str(body.get("crv") or "")
    made = keys.make(str(body.get("kty", "")), curve, size, body.get("key_ops") or None, premium=premium)
    version = of.add("keys", name, {**made, "tags": body.get("tags") or {}}, attributes)
    vault_documents.keep(twin, of, "keys", name, address)
    return Reply(200, vault_documents.Shown(of, "keys", address).bundle(name, version))


def _set(
    twin: TenantTwin, of: VaultContents, _kind: Any, name: str, _version: str, body: Document, address: str
) -> Reply:
    value = body.get("value")
    if not isinstance(value, str):
        raise VaultError(400, "BadParameter", "The 'value' of a secret is missing.")
    if len(value.encode()) > _MOST_SECRET_BYTES:
        raise VaultError(400, "BadParameter", f"The value of a secret has at most {_MOST_SECRET_BYTES} bytes.")
    content = {"value": value, "contentType": body.get("contentType"), "tags": body.get("tags") or {}}
    version = of.add("secrets", name, content, vault_documents.attributes_of(body))
    vault_documents.keep(twin, of, "secrets", name, address)
    return Reply(200, vault_documents.Shown(of, "secrets", address).bundle(name, version))


def _get(
    _twin: TenantTwin, of: VaultContents, kind: Any, name: str, version: str, _body: Document, address: str
) -> Reply:
    found = of.get(kind, name, version)
    if kind == "secrets" and not found["attributes"]["enabled"]:
        message = "Operation get is not allowed on a disabled secret."
        raise VaultError(403, "Forbidden", message, "SecretDisabled")
    return Reply(200, vault_documents.Shown(of, kind, address).bundle(name, found))


def _update(
    _twin: TenantTwin, of: VaultContents, kind: Any, name: str, version: str, body: Document, address: str
) -> Reply:
    own = "key_ops" if kind == "keys" else "contentType"
    members = {"tags": body.get("tags"), own: body.get(own)}
    found = of.change(of.get(kind, name, version), vault_documents.attributes_of(body), **members)
    return _without_value(of, kind, name, address, found)


def _without_value(of: VaultContents, kind: Any, name: str, address: str, found: Document) -> Reply:
    shown = vault_documents.Shown(of, kind, address).bundle(name, found)
    shown.pop("value", None)
    return Reply(200, shown)


def _versions(
    _twin: TenantTwin, of: VaultContents, kind: Any, name: str, _version: str, _body: Document, address: str
) -> Reply:
    shown = vault_documents.Shown(of, kind, address)
    found = of.versions(kind, name)
    return Reply(200, {"value": [shown.item(name, each, each["version"]) for each in found]})


def _delete(
    twin: TenantTwin, of: VaultContents, kind: Any, name: str, _version: str, _body: Document, address: str
) -> Reply:
    of.delete(kind, name)
    twin.drop(f"{of.document['id']}/{kind}/{name}")
    return Reply(200, vault_documents.Shown(of, kind, address).deleted_bundle(name))


def _get_deleted(
    _twin: TenantTwin, of: VaultContents, kind: Any, name: str, _version: str, _body: Document, address: str
) -> Reply:
    of.deleted_named(kind, name)
    return Reply(200, vault_documents.Shown(of, kind, address).deleted_bundle(name))


def _recover(
    twin: TenantTwin, of: VaultContents, kind: Any, name: str, _version: str, _body: Document, address: str
) -> Reply:
    found = of.recover(kind, name)
    vault_documents.keep(twin, of, kind, name, address)
    return _without_value(of, kind, name, address, found)


def _purge(
    _twin: TenantTwin, of: VaultContents, kind: Any, name: str, _version: str, _body: Document, _address: str
) -> Reply:
    of.purge(kind, name)
    return Reply(204)


_HANDLERS: dict[str, Callable[..., Reply]] = {
    "create": _create,
    "set": _set,
    "get": _get,
    "update": _update,
    "versions": _versions,
    "delete": _delete,
    "get_deleted": _get_deleted,
    "recover": _recover,
    "purge": _purge,
}
