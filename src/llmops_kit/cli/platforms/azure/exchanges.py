"""Records requests to Azure Resource Manager, anonymised: of texts, only states and types are kept, by field name."""

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from llmops_kit.cli.platforms.exchanges import MASK, Recorder, first, recorder
from llmops_kit.clouds.azure.session import AzureSession

_STATES = frozenset({"provisioningState", "status", "state", "type", "kind", "tier", "principalType", "createMode"})
_STATE = re.compile(r"[A-Za-z][A-Za-z0-9./_]{1,80}")
_MEMBER = re.compile(r"[@$]?[a-zA-Z][A-Za-z0-9.]*")
# Objects whose keys are not Azure's.
_MAPS = frozenset(
    {
        *("tags", "environmentVariables", "userAssignedIdentities", "traffic", "mirrorTraffic", "inputs", "outputs"),
        *("properties/properties", "services", "resources", "customProperties", "headers", "labels"),
    }
)
_NAMED = ("subscriptions", "resourcegroups", "workspaces")
_TYPE = re.compile(r"[A-Za-z][A-Za-z.]*|v[0-9.]+|api")


def recorded_session(subscription: str = "") -> AzureSession:
    """Returns a session that records its requests to Azure Resource Manager if the environment asks for it."""
    return AzureSession(subscription, record)


def record(response: Any) -> None:
    """Records a PipelineResponse with its request. Looks up the recorder each time: sessions may be opened before
    it.
    """
    if not (to := recorder()):
        return
    asked, answered = response.http_request, response.http_response
    answered.read()
    body, refused = _document(answered.text()), answered.status_code >= 400
    error = body.get("error") if isinstance(body, dict) and refused else None
    to.add(
        call_of(asked.method, asked.url),
        shown(_document(asked.content), to),
        answered.status_code,
        str(error.get("code", "")) if isinstance(error, dict) else "",
        {} if refused else shown(body, to),
    )


def call_of(method: str, url: str) -> str:
    """Returns a request with {} for names, such as `PUT …/providers/Microsoft.KeyVault/vaults/{} 2024-11-01`."""
    parts = urlsplit(url)
    version = parse_qs(parts.query).get("api-version", [""])[0]
    return f"{method} {_template(parts.path)} {version}".strip()


def _template(path: str) -> str:
    """Returns a path with {} for names: types precede their names, and alternate with them after a provider's
    namespace.
    """
    shown: list[str] = []
    before, within = "", False
    for word in (each for each in path.split("/") if each):
        named = before in _NAMED or (within and before != "" and before != "providers")
        if (named and word.lower() != "providers") or not _TYPE.fullmatch(word):
            shown.append("{}")
            before = ""
            continue
        within = within or before == "providers"
        shown.append(word)
        before = "" if before == "providers" else word.lower()
    return "/" + "/".join(shown)


def shown(value: Any, recorder: Recorder, path: tuple[str, ...] = ()) -> Any:
    """Returns an anonymised document. `path`: the keys that lead to it."""
    if isinstance(value, dict):
        others = bool(path) and (path[-1] in _MAPS or "/".join(path[-2:]) in _MAPS)
        items = first(list(value.items())) if others else list(value.items())
        return {
            recorder.mask(k) if others or not _MEMBER.fullmatch(k) else k: shown(v, recorder, (*path, k))
            for k, v in items
        }
    if isinstance(value, list):
        return [shown(each, recorder, path) for each in first(value)]
    if isinstance(value, str) and path and path[-1] in _STATES and _STATE.fullmatch(value):
        return value
    return recorder.plain(value)


def _document(text: Any) -> Any:
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    try:
        return json.loads(text) if text else {}
    except (TypeError, ValueError):
        return f"{MASK}text"
